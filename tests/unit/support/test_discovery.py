"""Finding resources by kind in what an API server says it has."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.discovery import Discovery, UnknownKindError


def entry(kind: str, plural: str, scope: str = "Namespaced") -> dict[str, Any]:
    return {"resource": plural, "responseKind": {"kind": kind}, "scope": scope, "verbs": ["get", "list"]}


def group(name: str, **versions: list[dict[str, Any]]) -> dict[str, Any]:
    metadata = {"name": name} if name else {}
    listed = [{"version": version, "resources": resources} for version, resources in versions.items()]
    return {"metadata": metadata, "versions": listed}


class Server:
    """What an API server would say, and how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.groups = [
            group("apps", v1=[entry("Deployment", "deployments")]),
            group("batch", v1=[entry("Job", "jobs")], v1beta1=[entry("Job", "jobs")]),
            group("events.k8s.io", v1=[entry("Event", "events")]),
            group("a.dev", v1=[entry("Model", "models")]),
            group("b.dev", v1=[entry("Model", "models")]),
            group("away.dev", v1=[{"resource": "gone", "scope": "Namespaced", "verbs": []}]),
        ]

    def fetch(self, path: str) -> dict[str, Any]:
        self.asked += 1
        core = [
            group("", v1=[entry("Pod", "pods"), entry("Event", "events"), entry("Node", "nodes", "Cluster")])
        ]
        return {"items": core if path == "/api" else self.groups}


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def discovery(server: Server) -> Discovery:
    return Discovery(server.fetch)


@pytest.mark.parametrize(
    ("kind", "api_version", "path"),
    [
        ("Pod", None, "/api/v1/namespaces/n/pods/x"),
        ("Job", None, "/apis/batch/v1/namespaces/n/jobs/x"),
        ("Job", "batch/v1beta1", "/apis/batch/v1beta1/namespaces/n/jobs/x"),
        ("Event", None, "/api/v1/namespaces/n/events/x"),
        ("Event.events.k8s.io", None, "/apis/events.k8s.io/v1/namespaces/n/events/x"),
        ("Model.b.dev", None, "/apis/b.dev/v1/namespaces/n/models/x"),
    ],
)
def test_path(discovery: Discovery, kind: str, api_version: str | None, path: str) -> None:
    assert discovery.find(kind, api_version).path("n", "x") == path


def test_subresource_and_cluster_scope(discovery: Discovery) -> None:
    node = discovery.find("Node")

    assert node.path(None, "x", "status") == "/api/v1/nodes/x/status"
    with pytest.raises(ValueError, match="Node is cluster-scoped"):
        node.path("n", "x")


def test_a_kind_of_two_groups_must_be_told_apart(discovery: Discovery) -> None:
    with pytest.raises(UnknownKindError, match=r"\['a\.dev', 'b\.dev'\]"):
        discovery.find("Model")


def test_the_server_is_asked_again_only_for_what_is_new(discovery: Discovery, server: Server) -> None:
    discovery.find("Pod")
    discovery.find("Job")
    assert server.asked == 2, "once for each of /api and /apis"

    server.groups.append(group("new.dev", v1=[entry("Fresh", "freshes")]))
    assert discovery.find("Fresh").group == "new.dev"
    with pytest.raises(UnknownKindError, match="no kind 'Nothing' in x/v1"):
        discovery.find("Nothing", "x/v1")


def test_all_has_each_resource_once(discovery: Discovery) -> None:
    jobs = [resource for resource in discovery.all() if resource.kind == "Job"]

    assert [job.version for job in jobs] == ["v1"], "the preferred version"
