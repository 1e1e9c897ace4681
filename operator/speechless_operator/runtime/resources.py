"""The kinds that the operator reads and writes, and where the API server has them."""

from __future__ import annotations

from dataclasses import dataclass

from speechless_operator.api.kinds import GROUP, KINDS, VERSION
from speechless_operator.desired.objects import SELECTOR


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
    resource.kind: resource
    for resource in (
        Resource("ConfigMap", "", "v1", "configmaps", labels=SELECTOR),
        Resource("Service", "", "v1", "services", labels=SELECTOR),
        Resource("Pod", "", "v1", "pods", labels=SELECTOR),
        Resource("Job", "batch", "v1", "jobs", labels=SELECTOR),
        Resource("Deployment", "apps", "v1", "deployments", labels=SELECTOR),
        # What the Job controller says of pods that were refused: nothing else tells it.
        Resource("Event", "", "v1", "events", fields="involvedObject.kind=Job,reason=FailedCreate"),
    )
}
WATCHED = OURS | CHILDREN
LEASE = Resource("Lease", "coordination.k8s.io", "v1", "leases")
