"""Which resources a change concerns. Our own status writes wake nobody but those who refer to the resource."""

from __future__ import annotations

from speechless_operator.api.inferenceservice import GATE_OVERRIDE, GATE_OVERRIDE_BY, GATE_OVERRIDE_UNTIL
from speechless_operator.desired.objects import Object
from speechless_operator.runtime.cache import Cache, Change, Key, key_of
from speechless_operator.runtime.resources import OURS

_UNTOLD = ("progress",)
_VERSIONS = ("resourceVersion", "managedFields")


def concerned(change: Change, cache: Cache) -> set[Key]:
    """The keys to look at again."""
    obj = change.new or change.old
    assert obj is not None
    kind = obj["kind"]
    if kind in OURS:
        return _by_resource(change, obj, cache)
    if change.old is not None and change.new is not None and _kept(change.old) == _kept(change.new):
        return set()  # nothing that a plan reads has changed
    # By owner references, not by labels: a stranger's label wakes nobody.
    owner = cache.root(obj)
    return {owner} if owner else set()


def _by_resource(change: Change, obj: Object, cache: Cache) -> set[Key]:
    old, new = change.old, change.new
    found: set[Key] = set()
    if old is None or new is None or _asks(old) != _asks(new):
        found.add(key_of(obj))
    if old is None or new is None or _tells(old) != _tells(new):
        found |= cache.dependents(key_of(obj))
    return found


def _asks(obj: Object) -> object:
    """What of a resource its own plan looks at, but for the status that the plan itself writes."""
    meta = obj["metadata"]
    annotations = meta.get("annotations") or {}
    override = tuple(annotations.get(key) for key in (GATE_OVERRIDE, GATE_OVERRIDE_BY, GATE_OVERRIDE_UNTIL))
    return meta["uid"], meta.get("generation"), meta.get("deletionTimestamp"), override


def _kept(child: Object) -> object:
    """What is kept of a child, but for its version."""
    return {key: value for key, value in child.items() if key != "metadata"}, {
        key: value for key, value in child["metadata"].items() if key not in _VERSIONS
    }


def _tells(obj: Object) -> object:
    """What of a resource those look at who refer to it."""
    status = {key: value for key, value in (obj.get("status") or {}).items() if key not in _UNTOLD}
    return obj["metadata"]["uid"], obj["metadata"].get("deletionTimestamp"), status
