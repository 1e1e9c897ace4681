"""What is kept in memory of an object: the part that plans read, and of what has ended that part packed."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass

from speechless_operator.desired.objects import Object
from speechless_operator.runtime.resources import CHILDREN, OURS
from speechless_operator.runtime.wire import decode

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_META = (
    "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
    "labels", "annotations", "finalizers", "ownerReferences",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Packed:
    """A resource that has ended: seldom read, and of those there are most. A tenth of what it takes as dicts."""

    uid: str
    version: int
    raw: bytes

    def unpack(self) -> Object:
        """As it was."""
        obj: Object = decode(zlib.decompress(self.raw))
        return obj


Kept = Object | Packed


def slim(obj: Object) -> Object:
    """Without what nothing here reads, and what is most of an object's size. Slimming twice changes nothing."""
    kind = obj["kind"]
    if kind not in OURS:
        return CHILDREN[kind].slim(obj)
    meta = {key: obj["metadata"][key] for key in _META if key in obj["metadata"]}
    if _LAST_APPLIED in (meta.get("annotations") or {}):
        meta["annotations"] = {k: v for k, v in meta["annotations"].items() if k != _LAST_APPLIED}
    return obj | {"metadata": meta}


def kept(obj: Object) -> Kept:
    """An object as the cache has it."""
    if not _has_ended(obj):
        return obj
    meta = obj["metadata"]
    raw = zlib.compress(json.dumps(obj, separators=(",", ":")).encode(), 1)
    return Packed(meta["uid"], int(meta["resourceVersion"]), raw)


def whole(entry: Kept) -> Object:
    """The object of an entry."""
    return entry.unpack() if isinstance(entry, Packed) else entry


def uid_of(entry: Kept) -> str:
    """Its uid."""
    return entry.uid if isinstance(entry, Packed) else str(entry["metadata"]["uid"])


def version_of(entry: Kept) -> int:
    """Its resourceVersion as a number."""
    # Comparable as a number since Kubernetes 1.35 says so (KEP-5504), and in every API server on etcd before.
    return entry.version if isinstance(entry, Packed) else int(entry["metadata"]["resourceVersion"])


def _has_ended(obj: Object) -> bool:
    if obj["kind"] not in OURS or "deletionTimestamp" in obj["metadata"]:
        return False
    conditions = (obj.get("status") or {}).get("conditions") or []
    return any(c.get("type") in ("Succeeded", "Failed") and c.get("status") == "True" for c in conditions)
