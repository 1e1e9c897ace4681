"""The kinds that the operator reads and writes, and where the API server has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from speechless_operator.api.kinds import GROUP, KINDS, VERSION
from speechless_operator.desired.children import CHILDREN as TABLE
from speechless_operator.desired.objects import Object


def _as_it_is(obj: Object) -> Object:
    return obj


@dataclass(frozen=True)
class Resource:
    """One kind of the API."""

    kind: str
    group: str
    version: str
    plural: str
    labels: str = ""
    """What is watched of it."""
    fields: str = ""
    optional: bool = False
    """Whether a cluster may lack it."""
    slim: Callable[[Object], Object] = _as_it_is
    """What is kept of an object."""

    @property
    def api_version(self) -> str:
        """As an object's `apiVersion` has it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(
        self, namespace: str | None = None, name: str | None = None, subresource: str | None = None
    ) -> str:
        """The URL path of a collection, an object or a subresource."""
        parts = ["apis" if self.group else "api", self.api_version]
        parts += ["namespaces", namespace] if namespace else []
        return "/" + "/".join([*parts, self.plural, *(part for part in (name, subresource) if part)])


OURS = {kind.name: Resource(kind.name, GROUP, VERSION, kind.plural) for kind in KINDS.values()}
CHILDREN = {
    row.kind: Resource(
        row.kind, row.group, row.version, row.plural, row.labels, row.fields, row.optional, row.slim
    )
    for row in TABLE.values()
}
WATCHED = OURS | {kind: child for kind, child in CHILDREN.items() if not child.optional}
"""What every cluster has."""
LEASE = Resource("Lease", "coordination.k8s.io", "v1", "leases")
