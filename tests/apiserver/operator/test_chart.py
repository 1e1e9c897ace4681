"""The chart: what it renders is accepted, and its rights are enough for the operator and no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.apiserver.operator import resources
from tests.apiserver.operator.kubelet import Kubelet, succeeded
from tests.apiserver.operator.process import running
from tests.support.cluster import ROOT, Cluster, ClusterError
from tests.support.faultproxy import FaultProxy
from tests.support.kube import Kube, Object
from tests.support.wait import wait_condition, wait_gone

CHART = ROOT / "charts" / "speechless"
CLUSTER_WIDE = ("ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition")
KUBE_VERSION = "1.35.4"


def rendered(cluster: Cluster, namespace: str, *settings: str) -> list[Object]:
    """The chart's objects."""
    flags = [flag for setting in settings for flag in ("--set", setting)]
    text = cluster.run(
        "helm",
        "template",
        "speechless",
        CHART,
        "--namespace",
        namespace,
        "--kube-version",
        KUBE_VERSION,
        *flags,
    )
    return [obj for obj in yaml.safe_load_all(text) if obj]


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    """Those of a kind."""
    return [obj for obj in objects if obj["kind"] == kind]


def test_it_is_without_fault(cluster: Cluster) -> None:
    assert "0 chart(s) failed" in cluster.run("helm", "lint", "--strict", CHART)


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("allowCodeExecution=true", "image.registry=localhost", "image.tag=dev", "replicas=1"),
        ("watchNamespaces={NAMESPACE}", "crds.install=false", "aggregatedRoles=false", "allowFileUris=true"),
        (
            "images.operator=registry.example/op@sha256:" + "0" * 64,
            "imagePullSecrets[0].name=login",
            "artifactStore=",
        ),
    ],
    ids=["as it is", "the demo", "namespaced", "closed network"],
)
def test_what_it_renders_is_accepted_under_restricted(
    cluster: Cluster, kube: Kube, namespace: str, settings: tuple[str, ...]
) -> None:
    for obj in rendered(cluster, namespace, *(s.replace("NAMESPACE", namespace) for s in settings)):
        kube.apply(obj, dry_run=True, force=True)
        if obj["kind"] == "Deployment":
            template = obj["spec"]["template"]
            probe = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe", "namespace": namespace}}
            # A Deployment is accepted whatever its pods: Pod Security looks at pods. The account is not there yet.
            kube.create(probe | {"spec": template["spec"] | {"serviceAccountName": "default"}}, dry_run=True)


def test_a_setting_that_is_none_is_refused(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(ClusterError, match="additional properties 'replica' not allowed"):
        rendered(cluster, namespace, "replica=2")
    with pytest.raises(ClusterError, match="artifactStore"):
        rendered(cluster, namespace, "artifactStore=s3://bucket/x")


def test_its_rules_name_everything_and_no_secrets(cluster: Cluster, namespace: str) -> None:
    rules = [
        rule
        for obj in rendered(cluster, namespace)
        if obj["kind"] in ("Role", "ClusterRole") and "aggregate" not in str(obj["metadata"]["labels"])
        for rule in obj["rules"]
    ]
    words = {word for rule in rules for part in ("apiGroups", "resources", "verbs") for word in rule[part]}
    assert "*" not in words
    assert not {"secrets", "pods/exec", "serviceaccounts", "clusterroles", "impersonate", "escalate"} & words


def test_kept_crds_say_so(cluster: Cluster, namespace: str) -> None:
    policy = "helm.sh/resource-policy"
    kept = of_kind(rendered(cluster, namespace), "CustomResourceDefinition")
    assert len(kept) == 4
    assert all(crd["metadata"]["annotations"][policy] == "keep" for crd in kept)
    dropped = of_kind(rendered(cluster, namespace, "crds.keep=false"), "CustomResourceDefinition")
    assert not any(policy in crd["metadata"].get("annotations", {}) for crd in dropped)


@pytest.fixture
def installed_rights(cluster: Cluster, kube: Kube, namespace: str, crds: None) -> str:
    """The chart's account and its rights in the test's namespace; the account's name."""
    objects = rendered(cluster, namespace, f"watchNamespaces={{{namespace}}}", "crds.install=false")
    for obj in objects:
        if obj["kind"] in ("ServiceAccount", "Role", "RoleBinding"):
            kube.apply(obj)
    return of_kind(objects, "ServiceAccount")[0]["metadata"]["name"]


@pytest.mark.timeout(180)
def test_its_rights_are_enough_for_the_whole_life_of_resources(
    kube: Kube,
    namespace: str,
    installed_rights: str,
    fault_proxy: FaultProxy,
    kubelet: Kubelet,
    tmp_path: Path,
) -> None:
    token = kube.token(installed_rights, namespace)
    kubeconfig = fault_proxy.kubeconfig(tmp_path / "as-the-operator", token=token)
    with running(kubeconfig, namespace, tmp_path) as operator:
        kube.create(resources.fine_tune("tuned", namespace, ttlSecondsAfterFinished=1))
        kube.create(resources.fine_tune("bad", namespace, backoffLimit=0))
        kube.create(resources.service("chat", namespace, {"uri": "pvc://models/one.gguf"}))
        kubelet.finish(kubelet.pod("FineTune", "tuned"), succeeded())
        kubelet.finish(kubelet.pod("FineTune", "bad"), "", exit_code=1)
        kubelet.run(kubelet.pod("InferenceService", "chat"), ready=True)
        wait_condition(kube, "InferenceService", "chat", namespace, "Ready")
        kube.patch("InferenceService", "chat", {"spec": {"parallel": 2, "replicas": 2}}, namespace)
        for attempt in (3, 4):  # the old revision is scaled, too
            kubelet.run(kubelet.pod("InferenceService", "chat", attempt=attempt), ready=True)
        wait_gone(kube, "FineTune", "tuned", namespace)
        wait_condition(kube, "FineTune", "bad", namespace, "Failed")
        assert operator.stop() == 0

    forbidden = [
        f"{record.request.method} {record.request.path}"
        for record in fault_proxy.records()
        if record.status == 403
    ]
    assert forbidden == []


def test_its_version_is_the_librarys(cluster: Cluster) -> None:
    import speechless

    chart: Any = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == speechless.__version__
