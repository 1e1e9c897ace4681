"""The chart: what it renders is accepted, and its rights are enough for the operator and no more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import speechless
from speechless_operator.crd.definition import SCHEMA_HASH
from speechless_operator.desired.settings import Ceilings, PodDefaults, image_names
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


OPEN = ("ceilings", "affinity", "resources")
"""Where what is absent has a meaning (values.yaml shows it in a comment), or the content is Kubernetes'."""
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The CRDs are long: PyYAML's own parser takes seconds for them."""
HOME = "speechless-system"
"""Where a release is that is only rendered."""


def rendered(
    cluster: Cluster,
    namespace: str,
    *settings: str,
    registry: str = "registry.example",
    release: str = "speechless",
) -> list[Object]:
    """The chart's objects."""
    chosen = [f"image.registry={registry}", *settings]
    # `--set x={}` is a list of one empty word.
    flags = [flag for s in chosen for flag in ("--set-json" if s.endswith("=[]") else "--set", s)]
    text = cluster.run(
        "helm",
        "template",
        release,
        CHART,
        "--namespace",
        namespace,
        "--kube-version",
        KUBE_VERSION,
        *flags,
    )
    return [obj for obj in yaml.load_all(text, Loader=LOADER) if obj]


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    """Those of a kind."""
    return [obj for obj in objects if obj["kind"] == kind]


def container(objects: list[Object]) -> Any:
    """The operator's container."""
    (deployment,) = of_kind(objects, "Deployment")
    return deployment["spec"]["template"]["spec"]["containers"][0]


def config(objects: list[Object]) -> Any:
    """The operator's file."""
    (found,) = (obj for obj in of_kind(objects, "ConfigMap") if "config.json" in obj["data"])
    return json.loads(found["data"]["config.json"])


def test_it_is_without_fault(cluster: Cluster) -> None:
    linted = cluster.run("helm", "lint", "--strict", CHART, "--set", "image.registry=registry.example")
    assert "0 chart(s) failed" in linted


def test_without_a_registry_it_says_what_to_do(cluster: Cluster) -> None:
    with pytest.raises(ClusterError) as refused:
        rendered(cluster, HOME, registry="")
    for words in (
        "no images of Speechless are published yet",
        "image.registry",
        "make images-push",
        "make demo",
    ):
        assert words in str(refused.value)
    # A full reference for each is enough.
    names = ("operator", *image_names())
    objects = rendered(cluster, HOME, *(f"images.{n}=registry.example/{n}:1" for n in names), registry="")
    assert container(objects)["image"] == "registry.example/operator:1"


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("allowCodeExecution=true", "image.registry=localhost", "image.tag=dev", "replicas=1"),
        ("watchNamespaces={NAMESPACE}", "crds.install=false", "aggregatedRoles=false", "allowFileUris=true"),
        (
            "images.operator=registry.example/op@sha256:" + "0" * 64,
            "imagePullSecrets[0].name=login",
            "global.imagePullSecrets={everyones}",
            "artifactStore=",
            "extraEnv[0].name=HTTPS_PROXY",
            "extraEnv[0].value=http://proxy.example:3128",
            "extraArgs={--log-level=debug}",
            "extraVolumes[0].name=ca",
            "extraVolumes[0].configMap.name=ca",
            "extraVolumeMounts[0].name=ca",
            "extraVolumeMounts[0].mountPath=/etc/ca",
            "stagePods.env[0].name=HF_ENDPOINT",
            "stagePods.env[0].value=https://mirror.example",
        ),
        ("uid=null", "stagePods.uid=null"),
        (
            "networkPolicy.enabled=true",
            "networkPolicy.metricsFrom[0].podSelector.matchLabels.app=prometheus",
            "admissionPolicies.enabled=true",
            "admissionPolicies.gateOverrides.users={alice}",
            "ceilings.imagePrefixes={registry.example/}",
            "ceilings.allowEnv=false",
            "ceilings.allowVolumes=false",
            "ceilings.serviceAccounts={default}",
            "ceilings.priorityClasses=[]",
            "ceilings.runtimeClasses={gvisor}",
            "fullnameOverride=mine",
        ),
    ],
    ids=["as it is", "the demo", "namespaced", "closed network", "any user", "guarded"],
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


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("replica=2", "additional properties 'replica' not allowed"),
        ("stagePods.uids=1", "additional properties 'uids' not allowed"),
        ("ceilings.imagePrefix=x", "additional properties 'imagePrefix' not allowed"),
        ("admissionPolicies.gateOverride.enabled=true", "additional properties 'gateOverride' not allowed"),
        ("artifactStore=ftp://host/x", "artifactStore"),
        ("artifactStoreSecret=No_Name", "artifactStoreSecret"),
        ("stagePods.uid=0", "uid"),
        ("stagePods.labels.a.b=c", "labels"),
        ("metrics.serviceMonitor.interval=soon", "interval"),
        ("qps=-1", "qps"),
    ],
)
def test_a_setting_that_is_none_is_refused(cluster: Cluster, setting: str, message: str) -> None:
    with pytest.raises(ClusterError, match=message):
        rendered(cluster, HOME, setting)


def test_its_schema_is_closed_and_complete() -> None:
    """Every default has a place in the schema, and every place in the schema a default or a comment."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    values: Any = yaml.safe_load((CHART / "values.yaml").read_text())

    def compare(value: Any, node: Any, path: str) -> None:
        if "properties" not in node or not isinstance(value, dict):
            return
        assert set(value) == set(node["properties"]) or path in OPEN, path
        assert node.get("additionalProperties") is False or path == "global", path
        for key, child in value.items():
            compare(child, node["properties"][key], f"{path}.{key}".lstrip("."))

    compare(values, schema, "")


def test_it_offers_what_the_operator_takes() -> None:
    properties = json.loads((CHART / "values.schema.json").read_text())["properties"]
    ceilings = {field.alias for field in Ceilings.model_fields.values()}
    assert set(properties["ceilings"]["properties"]) == ceilings
    text = (CHART / "values.yaml").read_text()
    assert all(f"# {name}: " in text for name in ceilings), "each is shown in values.yaml"
    pods = {field.alias for field in PodDefaults.model_fields.values()}
    assert set(properties["stagePods"]["properties"]) == pods | {"imageRegistry"}
    assert set(properties["images"]["properties"]) == {"operator", *image_names()}


def test_its_rules_name_everything_and_no_secrets(cluster: Cluster) -> None:
    rules = [
        rule
        for obj in rendered(cluster, HOME)
        if obj["kind"] in ("Role", "ClusterRole") and "aggregate" not in str(obj["metadata"]["labels"])
        for rule in obj["rules"]
    ]
    words = {word for rule in rules for part in ("apiGroups", "resources", "verbs") for word in rule[part]}
    assert "*" not in words
    assert not {"secrets", "pods/exec", "serviceaccounts", "clusterroles", "impersonate", "escalate"} & words


def test_with_watched_namespaces_it_has_no_right_beyond_them(cluster: Cluster) -> None:
    objects = rendered(cluster, HOME, "watchNamespaces={a}", "aggregatedRoles=false")
    assert of_kind(objects, "ClusterRole") == of_kind(objects, "ClusterRoleBinding") == []


def test_watching_everything_it_may_compare_the_crds(cluster: Cluster) -> None:
    objects = rendered(cluster, HOME)
    names = sorted(crd["metadata"]["name"] for crd in of_kind(objects, "CustomResourceDefinition"))
    (rule,) = (
        rule
        for role in of_kind(objects, "ClusterRole")
        for rule in role["rules"]
        if "customresourcedefinitions" in rule["resources"]
    )
    assert (sorted(rule["resourceNames"]), rule["verbs"]) == (names, ["get"])


def test_kept_crds_say_so_and_which_schema_they_are(cluster: Cluster) -> None:
    policy = "helm.sh/resource-policy"
    kept = of_kind(rendered(cluster, HOME), "CustomResourceDefinition")
    assert len(kept) == 4
    assert all(crd["metadata"]["annotations"][policy] == "keep" for crd in kept)
    assert all(SCHEMA_HASH in crd["metadata"]["annotations"] for crd in kept)
    dropped = of_kind(rendered(cluster, HOME, "crds.keep=false"), "CustomResourceDefinition")
    assert not any(policy in crd["metadata"].get("annotations", {}) for crd in dropped)
    assert all(SCHEMA_HASH in crd["metadata"]["annotations"] for crd in dropped)


# -------------------------------------------------------------------------------------------------------------- rights


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
    # What belongs to the cluster is not a namespaced release's to read: it starts without comparing the CRDs.
    definitions = "GET /apis/apiextensions.k8s.io/v1/customresourcedefinitions/"
    assert [each for each in forbidden if not each.startswith(definitions)] == []


def test_its_version_is_the_librarys(cluster: Cluster) -> None:
    chart: Any = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == speechless.__version__
