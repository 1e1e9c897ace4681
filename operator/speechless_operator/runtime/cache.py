"""What the operator knows of the cluster: objects by kind and name, children by owner, dependents by reference."""

from __future__ import annotations

import logging
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from speechless_operator.api.kinds import GROUP, KINDS
from speechless_operator.desired.objects import LABEL_UID, Object
from speechless_operator.plan import references
from speechless_operator.runtime.keep import Kept, kept, slim, uid_of, version_of, whole
from speechless_operator.runtime.resources import OURS
from speechless_operator.runtime.tally import Tally

_log = logging.getLogger(__name__)

Key = tuple[str, str, str]
"""Kind, namespace, name."""
MAX_DEAD = 16_384
MAX_STRAYS = 4_096
"""Objects that look like ours and whose owner is not known: of more, the oldest are forgotten."""
MAX_OWN = 256
"""Children of one of our resources. Anybody may make objects that name it as their controller; a plan has a few."""
MAX_BELOW = 8_192
"""What one other object owns: the pods of a Job or a Deployment, the Events about a Job."""
_DEEP = 6
"""How many owners one above the other are looked at: a pod, its Job, its JobSet, the resource."""


@dataclass(frozen=True)
class Change:
    """An object before and after; None where it was not there, or is gone."""

    old: Object | None
    new: Object | None


class Cache:
    """Objects as they were last seen. Used by one event loop, so nothing is locked.

    What is kept of an object is what plans read (`keep.slim`). What does not belong to one of our resources is not
    kept: an object belongs to the controller that its owner references name, whatever its labels say.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._kinds: defaultdict[str, dict[tuple[str, str], Kept]] = defaultdict(dict)
        self._keys: dict[str, Key] = {}
        self._owned: defaultdict[str, set[Key]] = defaultdict(set)
        self._dependents: defaultdict[Key, set[Key]] = defaultdict(set)
        self._strays: OrderedDict[Key, None] = OrderedDict()
        self._crowded: set[str] = set()
        # The end of an object, by uid, and at which version. The answer to a write may come after the watch told of the
        # end, and is older than it. An object that left a selector and comes back is newer.
        self._dead: OrderedDict[str, int] = OrderedDict()
        self.tally = Tally()

    # -- what is put in ---------------------------------------------------------------------------------------------

    def put(self, obj: Object) -> Change | None:
        """Keep an object, if it is newer than what is known; say what changed."""
        key, uid, version = key_of(obj), obj["metadata"]["uid"], version_of(obj)
        entry = self._kinds[key[0]].get(key[1:])
        if version <= self._dead.get(uid, -1) or (entry is not None and version <= version_of(entry)):
            return None
        old = None if entry is None else whole(entry)
        if not belongs(obj):
            # It may have been ours until now: somebody took the owner reference away.
            return self._drop(key, old) if old is not None else None
        if old is None and self._crowds(key, obj):
            return None
        self._dead.pop(uid, None)
        if old is not None:
            self._unindex(key, old)
        new = slim(obj)
        self._kinds[key[0]][key[1:]] = kept(new)
        self._index(key, new)
        if key[0] in OURS:
            self.tally.replace(old, new)
        elif self.root(new) is None:
            self._stray(key)
        return Change(old, new)

    def remove(self, obj: Object) -> Change | None:
        """Forget an object, unless another one of its name has come since."""
        return self.forget(key_of(obj), obj["metadata"]["uid"], version_of(obj))

    def forget(self, key: Key, uid: str, version: int) -> Change | None:
        """The same by key: the object of that uid was gone at that version."""
        entry = self._kinds[key[0]].get(key[1:])
        known = entry is not None and uid_of(entry) == uid
        if known and entry is not None and version_of(entry) > version:
            return None  # it came back since
        self._dead[uid] = max(version, self._dead.get(uid, 0))
        self._dead.move_to_end(uid)
        while len(self._dead) > MAX_DEAD:
            self._dead.popitem(last=False)
        return self._drop(key, whole(entry)) if known and entry is not None else None

    def lose(self, key: Key) -> Change | None:
        """Forget an object that can be seen no more, though it may live: seen again, it is taken again."""
        old = self.get(key)
        return None if old is None else self._drop(key, old)

    # -- what is asked ----------------------------------------------------------------------------------------------

    def get(self, key: Key) -> Object | None:
        """The object of a key."""
        entry = self._kinds[key[0]].get(key[1:])
        return None if entry is None else whole(entry)

    def stands(self, key: Key) -> tuple[str, int] | None:
        """The uid and version of a key's object."""
        entry = self._kinds[key[0]].get(key[1:])
        return None if entry is None else (uid_of(entry), version_of(entry))

    def ended_at(self, uid: str) -> int:
        """The version at which an object's end was seen; -1 if it was not."""
        return self._dead.get(uid, -1)

    def of_kind(self, kind: str) -> Iterator[Object]:
        """All objects of a kind."""
        return (whole(entry) for entry in list(self._kinds[kind].values()))

    def keys(self, kinds: Iterable[str]) -> list[Key]:
        """The keys of all objects of some kinds."""
        return [(kind, *rest) for kind in kinds for rest in self._kinds[kind]]

    def children(self, uid: str) -> dict[str, tuple[Object, ...]]:
        """What belongs to a resource, by kind: its own children, theirs, and the Events about its Jobs."""
        found: defaultdict[str, list[Object]] = defaultdict(list)
        for key, child in self._below(uid, _DEEP):
            found[key[0]].append(child)
        return {kind: tuple(objects) for kind, objects in found.items()}

    def root(self, obj: Object) -> Key | None:
        """The resource that an object belongs to in the end; None where the way there is not known."""
        for _ in range(_DEEP):
            key = self._key_above(_owner(obj))
            if key is None or key[0] in OURS:
                return key
            above = self.get(key)
            if above is None:
                return None
            obj = above
        return None

    def is_crowded(self, obj: Object) -> bool:
        """Whether an object's owner has, or had, more than is kept: that it is not here says nothing."""
        return _owner(obj) in self._crowded

    def dependents(self, key: Key) -> set[Key]:
        """The resources that refer to a resource, whether it exists or not."""
        return set(self._dependents.get(key, ()))

    def by_uid(self, uid: str) -> Key | None:
        """The key of the object of a uid."""
        return self._keys.get(uid)

    # -- within -----------------------------------------------------------------------------------------------------

    def _below(self, owner: str, deep: int) -> Iterator[tuple[Key, Object]]:
        for key in sorted(self._owned.get(owner, ())):
            child = whole(self._kinds[key[0]][key[1:]])
            yield key, child
            if deep:
                yield from self._below(child["metadata"]["uid"], deep - 1)
                if key[0] == "Deployment":
                    yield from self._below(_deployment(key[1], key[2]), deep - 1)

    def _key_above(self, owner: str | None) -> Key | None:
        if owner is None or not owner.startswith("Deployment/"):
            return self._keys.get(owner or "")
        kind, namespace, name = owner.split("/")
        return (kind, namespace, name) if (namespace, name) in self._kinds[kind] else None

    def _crowds(self, key: Key, obj: Object) -> bool:
        owner = None if key[0] in OURS else _owner(obj)
        if owner is None:
            return False
        above = self._keys.get(owner)
        most = MAX_OWN if above is not None and above[0] in OURS else MAX_BELOW
        if len(self._owned.get(owner, ())) < most:
            return False
        if owner not in self._crowded:
            self._crowded.add(owner)
            told = "/".join(above) if above else owner
            _log.warning(
                "%s has %d objects that name it as their owner: more are not looked at, such as %s/%s/%s",
                *(told, most, *key),
            )
        return True

    def _stray(self, key: Key) -> None:
        self._strays[key] = None
        self._strays.move_to_end(key)
        while len(self._strays) > MAX_STRAYS:
            oldest, _ = self._strays.popitem(last=False)
            obj = self.get(oldest)
            if obj is not None and self.root(obj) is None:
                self._drop(oldest, obj)

    def _drop(self, key: Key, old: Object) -> Change:
        self._strays.pop(key, None)
        del self._kinds[key[0]][key[1:]]
        self._unindex(key, old)
        # Only with the owner: whoever makes too many could else have them missed at each resync.
        self._crowded -= {
            old["metadata"]["uid"],
            _deployment(key[1], key[2]) if key[0] == "Deployment" else "",
        }
        if key[0] in OURS:
            self.tally.replace(old, None)
        return Change(old, None)

    def _index(self, key: Key, obj: Object) -> None:
        self._keys[obj["metadata"]["uid"]] = key
        for index, entry in self._entries(key, obj):
            index[entry].add(key)

    def _unindex(self, key: Key, obj: Object) -> None:
        self._keys.pop(obj["metadata"]["uid"], None)
        for index, entry in self._entries(key, obj):
            index[entry].discard(key)
            if not index[entry]:
                del index[entry]

    def _entries(self, key: Key, obj: Object) -> Iterator[tuple[defaultdict[object, set[Key]], object]]:
        if key[0] in OURS:
            for other, name in references(obj):
                yield self._dependents, (other, key[1], name)  # type: ignore[misc]
        elif owner := _owner(obj):
            yield self._owned, owner  # type: ignore[misc]


def key_of(obj: Object) -> Key:
    """An object's key."""
    meta = obj["metadata"]
    return obj["kind"], meta.get("namespace", ""), meta["name"]


def belongs(obj: Object) -> bool:
    """Whether an object is one of our resources, or may belong to one: metadata is enough to tell, but for an Event."""
    kind, meta = obj["kind"], obj["metadata"]
    if kind in OURS or kind == "Event":
        return True
    controller = _controller(meta)
    if controller is None:
        return False
    group = str(controller.get("apiVersion", "")).partition("/")[0]
    if group == GROUP:
        return controller.get("kind") in KINDS
    # A pod has a Job or a ReplicaSet between itself and the resource, a Workload of Kueue a Job.
    return kind == "Workload" or (kind == "Pod" and LABEL_UID in (meta.get("labels") or {}))


def _controller(meta: Object) -> Object | None:
    return next((ref for ref in meta.get("ownerReferences") or [] if ref.get("controller")), None)


def _owner(obj: Object) -> str | None:
    """What an object belongs to: a uid, or for a ReplicaSet's pod the Deployment, as ReplicaSets are not watched.

    A Deployment calls its ReplicaSets `<its name>-<hash>`, and gives their pods the hash as a label.
    """
    meta = obj["metadata"]
    if obj["kind"] == "Event":
        return (obj.get("involvedObject") or {}).get("uid")
    controller = _controller(meta)
    if controller is None:
        return None
    if controller.get("kind") == "ReplicaSet":
        digest = (meta.get("labels") or {}).get("pod-template-hash", "")
        name = str(controller.get("name", ""))
        if digest and name.endswith(f"-{digest}"):
            return _deployment(meta.get("namespace", ""), name.removesuffix(f"-{digest}"))
    return str(controller.get("uid", "")) or None


def _deployment(namespace: str, name: str) -> str:
    return f"Deployment/{namespace}/{name}"
