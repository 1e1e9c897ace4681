"""The chart: what its settings become, and two releases side by side."""

from __future__ import annotations

import pytest
import yaml

import speechless
from speechless_operator.desired.settings import AdministratorFile
from speechless_operator.flags import build_parser
from tests.apiserver.operator.test_chart import CHART, HOME, config, container, of_kind, rendered
from tests.support.cluster import Cluster, ClusterError, locked, program
from tests.support.kube import Kube, Object
from tests.support.wait import wait_condition

# ------------------------------------------------------------------------------------------------- what settings become


@pytest.mark.parametrize(
    ("settings", "operator", "train"),
    [
        ((), "registry.example/speechless/operator:V", "registry.example/speechless/train:V"),
        (
            ("stagePods.imageRegistry=other.example", "image.tag=v1", "image.repository="),
            "registry.example/operator:v1",
            "other.example/train:v1",
        ),
        (
            ("stagePods.imageRegistry=other.example", "global.imageRegistry=mirror.example", "image.tag=v1"),
            "mirror.example/speechless/operator:v1",
            "mirror.example/speechless/train:v1",
        ),
        (
            ("images.train=a.example/t@sha256:0", "global.imageRegistry=mirror.example", "image.tag=v1"),
            "mirror.example/speechless/operator:v1",
            "a.example/t@sha256:0",
        ),
    ],
)
def test_where_images_come_from(
    cluster: Cluster, settings: tuple[str, ...], operator: str, train: str
) -> None:
    found = container(rendered(cluster, HOME, *settings))
    assert found["image"] == operator.replace(":V", f":{speechless.__version__}")
    assert f"--image-train={train.replace(':V', f':{speechless.__version__}')}" in found["args"]


def test_what_the_operators_file_says(cluster: Cluster) -> None:
    assert config(rendered(cluster, HOME)) == {
        "stagePods": {"uid": 65532, "imagePullPolicy": "IfNotPresent", "imagePullSecrets": []},
        "ceilings": {},
    }
    said = config(
        rendered(
            cluster, HOME, "stagePods.uid=null", "image.pullPolicy=Always", "global.imagePullSecrets={a}",
            "stagePods.imagePullSecrets[0].name=b", "stagePods.imagePullSecrets[1].name=a", "stagePods.labels.team=ml",
            "stagePods.priorityClassName=low", "ceilings.imagePrefixes=[]", "ceilings.allowEnv=false",
        )
    )  # fmt: skip
    assert said == {
        "stagePods": {
            "uid": None,
            "imagePullPolicy": "Always",
            "imagePullSecrets": [{"name": "a"}, {"name": "b"}],
            "labels": {"team": "ml"},
            "priorityClassName": "low",
        },
        "ceilings": {"imagePrefixes": [], "allowEnv": False},
    }
    file = AdministratorFile.model_validate(said)
    assert file.stage_pods.uid is None
    assert file.ceilings.image_prefixes == ()


def test_a_large_uid_stays_a_number(cluster: Cluster) -> None:
    objects = rendered(cluster, HOME, "uid=1000680000", "stagePods.uid=1000680000")
    (deployment,) = of_kind(objects, "Deployment")
    assert deployment["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == 1000680000
    assert config(objects)["stagePods"]["uid"] == 1000680000


def test_the_operator_understands_every_flag_of_its_deployment(cluster: Cluster) -> None:
    objects = rendered(
        cluster, HOME, "allowCodeExecution=true", "allowFileUris=true", "watchNamespaces={team}",
        "qps=50", "burst=7", "extraArgs={--workers=3}",
    )  # fmt: skip
    arguments = build_parser().parse(container(objects)["args"])
    assert (arguments.qps, arguments.burst, arguments.workers) == (50, 7, 3)
    assert arguments.namespace == ["team"]
    assert arguments.allow_code_execution
    assert arguments.allow_file_uris


def test_a_changed_file_starts_new_pods(cluster: Cluster) -> None:
    def sums(*settings: str) -> str:
        (deployment,) = of_kind(rendered(cluster, HOME, *settings), "Deployment")
        return str(deployment["spec"]["template"]["metadata"]["annotations"]["checksum/config"])

    assert sums() == sums("workers=4") != sums("ceilings.allowEnv=false")


def test_a_monitor_finds_the_metrics(cluster: Cluster) -> None:
    objects = rendered(cluster, HOME, "metrics.serviceMonitor.enabled=true")
    (monitor,), (service,) = of_kind(objects, "ServiceMonitor"), of_kind(objects, "Service")
    labels = service["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    ports = {port["name"] for port in container(objects)["ports"]}
    assert service["spec"]["ports"][0]["targetPort"] in ports
    with pytest.raises(ClusterError, match=r"set metrics\.service\.enabled=true"):
        rendered(cluster, HOME, "metrics.serviceMonitor.enabled=true", "metrics.service.enabled=false")


@pytest.fixture(scope="session")
def monitors(cluster: Cluster) -> None:
    """The Prometheus operator's own definitions of what its users write."""
    folder = program("monitoring") / "example" / "prometheus-operator-crd"
    for plural in ("servicemonitors", "podmonitors"):
        crd = yaml.safe_load((folder / f"monitoring.coreos.com_{plural}.yaml").read_text())
        with locked(plural):
            cluster.kube.apply(crd, force=True)
            wait_condition(
                cluster.kube, "CustomResourceDefinition", crd["metadata"]["name"], None, "Established"
            )
    cluster.kube.discovery.refresh()


def test_the_prometheus_operator_knows_every_field_of_the_monitor(
    cluster: Cluster, kube: Kube, namespace: str, monitors: None
) -> None:
    (monitor,) = of_kind(
        rendered(
            cluster, namespace, "metrics.serviceMonitor.enabled=true", "metrics.serviceMonitor.labels.a=b"
        ),
        "ServiceMonitor",
    )
    made = kube.create(monitor | {"metadata": monitor["metadata"] | {"namespace": namespace}}, strict=True)
    assert made["spec"] == monitor["spec"]


# ------------------------------------------------------------------------------------------------------- two releases


def names(objects: list[Object]) -> set[tuple[str, str, str]]:
    """Kind, namespace and name of each."""
    return {
        (obj["kind"], obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        for obj in objects
        if obj["kind"] != "CustomResourceDefinition"
    }


def test_two_releases_share_no_object(cluster: Cluster) -> None:
    for first, second in ((("a", "one"), ("b", "one")), (("a", "one"), ("a", "two"))):
        one, two = (
            names(
                rendered(
                    cluster, home, "watchNamespaces={same}", "admissionPolicies.enabled=true", release=release
                )
            )
            for release, home in (first, second)
        )
        assert one & two == set()
    leases = [
        word for word in container(rendered(cluster, "one", release="a"))["args"] if "lease-name" in word
    ]
    assert leases != [
        word for word in container(rendered(cluster, "one", release="b"))["args"] if "lease-name" in word
    ]


@pytest.mark.timeout(180)
def test_a_second_release_for_all_namespaces_is_refused(cluster: Cluster, crds: None, namespace: str) -> None:
    common = (
        CHART, "--namespace", namespace, "--set", "replicas=0", "--set", "image.registry=registry.invalid",
        "--set", "crds.install=false", "--set", "aggregatedRoles=false",
    )  # fmt: skip
    with locked("speechless-watches-all"):
        cluster.run("helm", "install", "first", *common)
        try:
            second = cluster.try_run("helm", "install", "second", *common)
            assert second.returncode != 0
            assert "speechless-operator:watches-all-namespaces" in second.stderr
            assert 'current value is "first"' in second.stderr
            cluster.run("helm", "install", "third", *common, "--set", f"watchNamespaces={{{namespace}}}")
            cluster.run("helm", "uninstall", "third", "--namespace", namespace)
        finally:
            cluster.run("helm", "uninstall", "first", "--namespace", namespace)
