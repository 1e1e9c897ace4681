"""Names, labels and owner references of children: what ties them to the resource they belong to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from speechless_operator.api.kinds import API_VERSION, GROUP, KINDS

Object = dict[str, Any]

MANAGER = "speechless-operator"
MANAGED_BY = "app.kubernetes.io/managed-by"
LABEL_KIND = f"{GROUP}/kind"
LABEL_NAME = f"{GROUP}/name"
LABEL_UID = f"{GROUP}/uid"
LABEL_REVISION = f"{GROUP}/revision"
LABEL_RUN = f"{GROUP}/run"
LABEL_QUEUE = "kueue.x-k8s.io/queue-name"
"""By this label a Job asks a Kueue LocalQueue for its place."""
SELECTOR = f"{MANAGED_BY}={MANAGER}"
"""What the operator watches of other groups."""


@dataclass(frozen=True)
class Owner:
    """The resource that a child belongs to."""

    kind: str
    namespace: str
    name: str
    uid: str
    generation: int

    @classmethod
    def of(cls, obj: Object) -> Owner:
        """The owner that a resource is."""
        meta = obj["metadata"]
        return cls(obj["kind"], meta["namespace"], meta["name"], meta["uid"], meta.get("generation", 0))

    @property
    def labels(self) -> dict[str, str]:
        """On every child and every pod; by these the operator finds whose an object is."""
        return {
            "app.kubernetes.io/name": f"speechless-{KINDS[self.kind].singular}",
            "app.kubernetes.io/instance": self.name,
            "app.kubernetes.io/part-of": "speechless",
            MANAGED_BY: MANAGER,
            LABEL_KIND: self.kind,
            LABEL_NAME: self.name,
            LABEL_UID: self.uid,
        }

    def child_name(self, digest: str) -> str:
        """`<name>-<kind>-<digest>`: a function of the resource's content, so that applying twice makes one."""
        return short_name(f"{self.name}-{KINDS[self.kind].short}-{digest}", self.name)

    def metadata(
        self,
        name: str,
        *,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> Object:
        """The metadata of a child."""
        made: Object = {
            "name": name,
            "namespace": self.namespace,
            "labels": self.labels | dict(labels or {}),
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": self.kind,
                    "name": self.name,
                    "uid": self.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        }
        return made | {"annotations": dict(annotations)} if annotations else made

    def owns(self, obj: Object) -> bool:
        """Whether an object's controller is this resource, and not an earlier one of its name."""
        return controller_uid(obj) == self.uid

    def had(self, obj: Object) -> bool:
        """Whether an object's controller is, or was, a resource of this kind and name: this one or an earlier one."""
        references = obj["metadata"].get("ownerReferences") or []
        above: Object = next((ref for ref in references if ref.get("controller")), {})
        return (above.get("kind"), above.get("name")) == (self.kind, self.name)


def controller_uid(obj: Object) -> str:
    """The uid of the object that controls this one; empty where nobody does."""
    references = obj["metadata"].get("ownerReferences") or []
    return next((str(ref.get("uid", "")) for ref in references if ref.get("controller")), "")


MAX_LABEL = 63
"""Characters of a label's value, of a Service's name and of a Job's name."""


def short_name(name: str, begins: str) -> str:
    """A name that is too long with a hash in place of most of its beginning. Only names of the first version are.

    >>> len(short_name("a" * 49 + "-slis-0123456789", "a" * 49)), short_name("a-ft-1", "a")
    (53, 'a-ft-1')
    """
    if len(name) <= MAX_LABEL:
        return name
    return f"{begins[:28]}-{short_hash(begins)}{name.removeprefix(begins)}"


def short_hash(*parts: Any) -> str:
    """Eight hexadecimal digits of the parts' canonical JSON."""
    return digest_of(*parts)[:8]


def digest_of(*parts: Any) -> str:
    """The SHA-256 of the parts' canonical JSON, in hexadecimal digits."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
