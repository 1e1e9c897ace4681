"""Which resources an API server has, from its two aggregated discovery documents."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

ACCEPT = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


class UnknownKindError(LookupError):
    """The server serves no such kind, or several groups do and none was named."""


@dataclass(frozen=True)
class Resource:
    """One resource of the API in its group's preferred version, or in the version that was asked for."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    verbs: frozenset[str]

    @property
    def api_version(self) -> str:
        """As an object's `apiVersion` field has it: `v1`, `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(
        self, namespace: str | None = None, name: str | None = None, subresource: str | None = None
    ) -> str:
        """The URL path of a collection, an object or a subresource."""
        parts = ["apis" if self.group else "api", self.api_version]
        if namespace:
            if not self.namespaced:
                raise ValueError(f"{self.kind} is cluster-scoped; namespace {namespace!r} was given")
            parts += ["namespaces", namespace]
        parts += [self.plural, *(part for part in (name, subresource) if part)]
        return "/" + "/".join(parts)


def _resources(document: dict[str, Any]) -> Iterator[Resource]:
    for group in document.get("items", []):
        for version in group.get("versions", []):  # the server lists the preferred version first
            for entry in version.get("resources", []):
                # A group whose own server is away has entries without `responseKind`: nothing to address.
                if "responseKind" not in entry:
                    continue
                yield Resource(
                    group=group.get("metadata", {}).get("name", ""),
                    version=version["version"],
                    kind=entry["responseKind"]["kind"],
                    plural=entry["resource"],
                    namespaced=entry.get("scope") == "Namespaced",
                    verbs=frozenset(entry.get("verbs", [])),
                )


class Discovery:
    """Finds resources by kind; asks the server at first use and again when a kind is not known."""

    def __init__(self, fetch: Callable[[str], dict[str, Any]]) -> None:
        self._fetch = fetch
        self._known: list[Resource] = []

    def refresh(self) -> None:
        """Ask the server for all its groups."""
        self._known = [found for root in ("/api", "/apis") for found in _resources(self._fetch(root))]

    def all(self) -> list[Resource]:
        """Every resource as the server has it now, each once, in its group's preferred version."""
        self.refresh()
        seen: dict[tuple[str, str], Resource] = {}
        for resource in self._known:
            seen.setdefault((resource.group, resource.plural), resource)
        return list(seen.values())

    def find(self, kind: str, api_version: str | None = None) -> Resource:
        """The resource of `Kind` or `Kind.group`; a bare kind in several groups means the core group's.

        Raises:
            UnknownKindError: The server does not serve it, or the group must be named.
        """
        if found := self._lookup(kind, api_version):
            return found
        self.refresh()
        if found := self._lookup(kind, api_version):
            return found
        where = f" in {api_version}" if api_version else ""
        raise UnknownKindError(f"the API server has no kind {kind!r}{where}")

    def _lookup(self, kind: str, api_version: str | None) -> Resource | None:
        name, _, group = kind.partition(".")
        matching = [r for r in self._known if r.kind == name and (not group or r.group == group)]
        if api_version is not None:
            return next((r for r in matching if r.api_version == api_version), None)
        groups = {r.group for r in matching}
        if len(groups) > 1 and "" not in groups:
            raise UnknownKindError(
                f"{kind!r} is served by {sorted(groups)}: name the group, as in {name}.GROUP"
            )
        return next((r for r in matching if len(groups) < 2 or r.group == ""), None)
