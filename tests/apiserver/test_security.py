"""Pod Security, RBAC, node isolation and the audit log: what a cluster must have for our promises to mean much."""

from __future__ import annotations

import json

import pytest

from tests.support import pods
from tests.support.cluster import Cluster
from tests.support.kube import ApiError, Kube, Object
from tests.support.wait import wait_for

IMAGE = "registry.invalid/never:pulled"
NODE_USER, NODE_GROUP = "system:node:not-a-node", "system:nodes"


def test_pod_security_admits_our_pods(kube: Kube, namespace: str) -> None:
    admitted = kube.create(
        pods.pod("good", namespace, pods.pod_spec(pods.container(IMAGE, ["true"]))), dry_run=True
    )

    assert admitted["spec"]["securityContext"]["runAsNonRoot"] is True


def test_pod_security_refuses_a_pod_with_rights_and_says_which(kube: Kube, namespace: str) -> None:
    bad = {"containers": [{"name": "main", "image": IMAGE, "securityContext": {"privileged": True}}]}

    with pytest.raises(ApiError) as refused:
        kube.create(pods.pod("bad", namespace, bad), dry_run=True)

    assert refused.value.code == 403
    assert 'violates PodSecurity "restricted:latest"' in refused.value.message
    for complaint in (
        "privileged",
        "allowPrivilegeEscalation != false",
        "runAsNonRoot != true",
        "seccompProfile",
    ):
        assert complaint in refused.value.message


def test_a_job_is_admitted_even_if_its_pods_are_not(kube: Kube, namespace: str) -> None:
    """Why the operator must tell a Job's failed pod creations on the resource: the Job itself looks fine."""
    spec = pods.pod_spec(pods.container(IMAGE, ["true"]))
    spec["containers"][0]["securityContext"] = {"privileged": True}
    kube.create(pods.job("bad", namespace, spec))

    def refused() -> list[Object]:
        events = kube.list("Event", namespace, fields="involvedObject.kind=Job,reason=FailedCreate")
        return [event for event in events if "violates PodSecurity" in event["message"]]

    wait_for(refused, "an event of the Job that names Pod Security")
    assert kube.list("Pod", namespace) == []


def test_a_service_account_has_only_the_rights_given_to_it(kube: Kube, namespace: str) -> None:
    kube.create(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "app", "namespace": namespace}}
    )
    kube.create(pods.config_map("settings", namespace, {"a": "b"}))
    app = Kube(kube.access.with_token(kube.token("app", namespace)))

    with pytest.raises(ApiError) as refused:
        app.get("ConfigMap", "settings", namespace)

    assert refused.value.code == 403
    assert (
        f'User "system:serviceaccount:{namespace}:app" cannot get resource "configmaps"'
        in refused.value.message
    )

    kube.create(_role("reader", namespace, "configmaps", "get"))
    kube.create(_binding("reader", namespace, "app"))

    def readable() -> Object | None:
        try:
            return app.get("ConfigMap", "settings", namespace)
        except ApiError as error:
            if error.code != 403:  # the authorizer learns of a new binding by a watch
                raise
            return None

    assert wait_for(readable, "the new binding to be in force")["data"] == {"a": "b"}
    with pytest.raises(ApiError, match='cannot get resource "secrets"'):
        app.get("Secret", "anything", namespace)


def test_nobody_gets_in_without_credentials(kube: Kube, namespace: str) -> None:
    stranger = Kube(kube.access.with_token("not-a-token"))

    with pytest.raises(ApiError) as refused:
        stranger.request("GET", f"/api/v1/namespaces/{namespace}/configmaps")

    assert refused.value.code == 401


def test_the_node_authorizer_keeps_nodes_from_what_is_not_theirs(kube: Kube, namespace: str) -> None:
    kube.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": namespace}})
    node = Kube(kube.access.impersonating(NODE_USER, NODE_GROUP))

    with pytest.raises(
        ApiError, match="no relationship found between node 'not-a-node' and this object"
    ) as refused:
        node.get("Secret", "s", namespace)

    assert refused.value.code == 403


def test_node_restriction_keeps_nodes_from_writing_other_nodes(kube: Kube) -> None:
    """Admission decides this one: the authorizer alone would let a node create Node objects."""
    node = Kube(kube.access.impersonating(NODE_USER, NODE_GROUP))
    other = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "another-node"}}

    with pytest.raises(
        ApiError, match='node "not-a-node" is not allowed to modify node "another-node"'
    ) as refused:
        node.create(other, dry_run=True)

    assert refused.value.code == 403


@pytest.mark.own_cluster
def test_requests_are_in_the_audit_log(cluster: Cluster, kube: Kube, namespace: str) -> None:
    kube.create(pods.config_map("audited", namespace, {}))
    log = cluster.audit
    assert log is not None, "the cluster's status names no audit log"

    def entry() -> Object | None:
        for line in log.read_text(errors="replace").splitlines()[-2000:]:
            # The last line may be half written: it is looked at again.
            if '"audited"' in line and namespace in line and line.endswith("}"):
                found: Object = json.loads(line)
                return found
        return None

    found = wait_for(entry, f"an entry about the ConfigMap in {log}")
    assert found["verb"] == "create"
    assert found["objectRef"]["resource"] == "configmaps"
    assert found["responseStatus"]["code"] == 201


def _role(name: str, namespace: str, resource: str, verb: str) -> Object:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": name, "namespace": namespace},
        "rules": [{"apiGroups": [""], "resources": [resource], "verbs": [verb]}],
    }


def _binding(role: str, namespace: str, service_account: str) -> Object:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": role, "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": service_account, "namespace": namespace}],
    }
