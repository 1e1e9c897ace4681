"""Names: long ones, dots, digits first, reserved ones.

kserve/kserve#4807, opendatahub-io/odh-dashboard#3062, kubernetes-sigs/kueue#10032. Expected: refused at
once with the rule, or working to the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from speechless_operator.api.common import MAX_NAME
from tests.apiserver.operator import resources
from tests.apiserver.operator.cases import steps
from tests.apiserver.operator.kubelet import Kubelet
from tests.apiserver.operator.process import running
from tests.support.cluster import Cluster
from tests.support.kube import Kube
from tests.support.namespaces import RUN_LABEL, delete_namespace
from tests.support.wait import wait_condition, wait_for

pytestmark = pytest.mark.timeout(180)
LONGEST = "a" * MAX_NAME
BAD = (
    "a" * (MAX_NAME + 1),
    "llama-3.1-8b",
    "3b-model",
    "UPPER",
    "a-",
    "-a",
    "under_score",
    "\u00e4",
    "a" * 253,
)


@pytest.fixture
def long_namespace(kube: Kube, run_id: str) -> Iterator[str]:
    """A namespace with a name of 63 characters."""
    name = f"t-{run_id}-".ljust(63, "n")
    kube.create(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {RUN_LABEL: run_id}}}
    )
    wait_for(lambda: kube.find("ServiceAccount", "default", name), "its service account")
    yield name
    delete_namespace(kube, name)


def test_a_name_that_no_child_could_have_is_refused_at_once(
    kube: Kube, crds: None, namespace: str, subtests: pytest.Subtests
) -> None:
    for name in BAD:
        for obj in (resources.fine_tune(name, namespace), resources.service(name, namespace, steps.GGUF)):
            with subtests.test(name[:20], kind=obj["kind"], length=len(name)):
                assert "name" in steps.refused(kube, obj)


def test_the_longest_name_in_the_longest_namespace_works_to_the_end(
    kube: Kube, crds: None, cluster: Cluster, long_namespace: str, tmp_path: Path
) -> None:
    kubelet = Kubelet(kube, long_namespace)
    with running(cluster.kubeconfig, long_namespace, tmp_path) as operator:
        for obj in (
            resources.fine_tune(LONGEST, long_namespace),
            resources.evaluation(LONGEST, long_namespace, {"fineTune": {"name": LONGEST}}),
            resources.quantization(LONGEST, long_namespace, LONGEST),
            resources.service(LONGEST, long_namespace, {"quantization": {"name": LONGEST}}),
        ):
            kube.create(obj)
        steps.succeed(kube, kubelet, "FineTune", LONGEST)
        steps.succeed(kube, kubelet, "Evaluation", LONGEST, form="Report", **{"humaneval/pass@1": 0.9})
        steps.succeed(kube, kubelet, "Quantization", LONGEST, "b", form="GGUF")
        served = steps.serve(kube, kubelet, LONGEST)
        assert served["status"]["url"] == f"http://{LONGEST}.{long_namespace}.svc/v1"
        steps.assert_well(operator)


def test_the_api_servers_own_service_is_left_alone(
    kube: Kube, crds: None, cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    before = kube.get("Service", "kubernetes", "default")["spec"]
    with running(cluster.kubeconfig, namespace, tmp_path, "--namespace=default") as operator:
        try:
            kube.create(resources.service("kubernetes", "default", steps.GGUF))
            kubelet = Kubelet(kube, "default")
            kubelet.run(kubelet.pod("InferenceService", "kubernetes"), ready=True)
            told = wait_condition(
                kube, "InferenceService", "kubernetes", "default", "Stalled", reason="NameConflict"
            )
            assert "Service kubernetes" in steps.text(told)
            mine = f"involvedObject.uid={told['metadata']['uid']}"
            said = [event["reason"] for event in kube.list("Event", "default", fields=mine)]
            assert "Available" not in said, "what nobody can reach was never ready"
            assert kube.get("Service", "kubernetes", "default")["spec"] == before
            steps.assert_well(operator)
        finally:
            kube.delete("InferenceService", "kubernetes", "default", missing_ok=True)
