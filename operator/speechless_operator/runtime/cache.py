"""What the operator knows of the cluster: objects by kind and name, children by owner, dependents by reference."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from speechless_operator.api.kinds import API_VERSION
from speechless_operator.desired.objects import LABEL_UID, Object
from speechless_operator.plan import references
from speechless_operator.runtime.resources import OURS

Key = tuple[str, str, str]
"""Kind, namespace, name."""
_REMEMBERED = 4096
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True)
class Change:
    """An object before and after; None where it was not there, or is gone."""

    old: Object | None
    new: Object | None


class Cache:
    """Objects as they were last seen. Used by one event loop, so nothing is locked."""

    def __init__(self) -> None:
        """Start empty."""
        self._objects: dict[Key, Object] = {}
        self._keys: dict[str, Key] = {}
        self._children: defaultdict[str, set[Key]] = defaultdict(set)
        self._events: defaultdict[str, set[Key]] = defaultdict(set)
        self._dependents: defaultdict[Key, set[Key]] = defaultdict(set)
        # A reply to a write may come after the watch has told of the object's end.
        self._dead: OrderedDict[str, None] = OrderedDict()

    def put(self, obj: Object) -> Change | None:
        """Keep an object, if it is newer than what is known; say what changed."""
        key, meta = key_of(obj), obj["metadata"]
        old = self._objects.get(key)
        if meta["uid"] in self._dead or (old is not None and version(obj) <= version(old)):
            return None
        if old is not None:
            self._unindex(key, old)
        slim = _slim(obj)
        self._objects[key] = slim
        self._index(key, slim)
        return Change(old, slim)

    def remove(self, obj: Object) -> Change | None:
        """Forget an object, unless another one of its name has come since."""
        key, uid = key_of(obj), obj["metadata"]["uid"]
        self._dead[uid] = None
        while len(self._dead) > _REMEMBERED:
            self._dead.popitem(last=False)
        old = self._objects.get(key)
        if old is None or old["metadata"]["uid"] != uid:
            return None
        del self._objects[key]
        self._unindex(key, old)
        return Change(old, None)

    def get(self, key: Key) -> Object | None:
        """The object of a key."""
        return self._objects.get(key)

    def is_dead(self, uid: str) -> bool:
        """Whether an object's end was seen."""
        return uid in self._dead

    def of_kind(self, kind: str) -> Iterator[Object]:
        """All objects of a kind."""
        return (obj for key, obj in list(self._objects.items()) if key[0] == kind)

    def keys(self, kinds: Iterable[str]) -> list[Key]:
        """The keys of all objects of some kinds."""
        wanted = set(kinds)
        return [key for key in self._objects if key[0] in wanted]

    def children(self, uid: str) -> dict[str, tuple[Object, ...]]:
        """The children of a resource by kind, and what is said of its Jobs."""
        found: defaultdict[str, list[Object]] = defaultdict(list)
        for key in sorted(self._children.get(uid, ())):
            child = self._objects[key]
            found[key[0]].append(child)
            for event in sorted(self._events.get(child["metadata"]["uid"], ())):
                found["Event"].append(self._objects[event])
        return {kind: tuple(objects) for kind, objects in found.items()}

    def dependents(self, key: Key) -> set[Key]:
        """The resources that refer to a resource, whether it exists or not."""
        return set(self._dependents.get(key, ()))

    def by_uid(self, uid: str) -> Key | None:
        """The key of the object of a uid."""
        return self._keys.get(uid)

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
        kind, namespace, _ = key
        if kind in OURS:
            for other, name in references(obj):
                yield self._dependents, (other, namespace, name)  # type: ignore[misc]
        elif kind == "Event":
            yield self._events, obj["involvedObject"].get("uid", "")  # type: ignore[misc]
        elif uid := _owner_uid(obj):
            yield self._children, uid  # type: ignore[misc]


def key_of(obj: Object) -> Key:
    """An object's key."""
    meta = obj["metadata"]
    return obj["kind"], meta.get("namespace", ""), meta["name"]


def version(obj: Object) -> int:
    """An object's resourceVersion as a number."""
    # Comparable as a number since Kubernetes 1.35 says so (KEP-5504), and in every API server on etcd before.
    return int(obj["metadata"]["resourceVersion"])


def _owner_uid(obj: Object) -> str | None:
    """The uid of the resource that a child belongs to: a label is said quickly, an owner is what the cluster goes by.

    Pods belong to a Job or a ReplicaSet first; theirs is the label.
    """
    meta = obj["metadata"]
    if obj["kind"] == "Pod":
        return str(meta.get("labels", {}).get(LABEL_UID, "")) or None
    owner: Object = next((ref for ref in meta.get("ownerReferences", []) if ref.get("controller")), {})
    return str(owner["uid"]) if owner.get("apiVersion") == API_VERSION else None


def newer(a: Object, b: Object) -> bool:
    """Whether `a` was written after `b`."""
    return version(a) > version(b)


def _slim(obj: Object) -> Object:
    """Without what nothing here reads, and what is most of an object's size."""
    meta = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    if _LAST_APPLIED in meta.get("annotations", {}):
        meta["annotations"] = {k: v for k, v in meta["annotations"].items() if k != _LAST_APPLIED}
    return obj | {"metadata": meta}
