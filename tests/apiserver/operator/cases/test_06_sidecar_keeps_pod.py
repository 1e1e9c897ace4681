"""An injected sidecar outlives the stage.

istio/istio#11045, kubeflow/trainer#1183, kubeflow/katib#1042. Expected: what holds the pod is told, the
stage's result is taken, and after a grace the operator ends the Job; spec.pod can switch injection off.
"""

from __future__ import annotations

import pytest

from speechless.contract import FailureReason, StageResult
from tests.apiserver.operator import resources
from tests.apiserver.operator.cases import steps
from tests.apiserver.operator.kubelet import Kubelet, failed, now
from tests.apiserver.operator.process import Operator
from tests.support.kube import Kube, Object
from tests.support.wait import wait_condition, wait_for, wait_object

pytestmark = pytest.mark.timeout(240)


def ended(result: StageResult, code: int) -> Object:
    """The stage's container at its end."""
    state = {
        "exitCode": code,
        "reason": "Completed" if code == 0 else "Error",
        "message": result.termination_message(),
        "startedAt": now(),
        "finishedAt": now(),
    }
    return steps.container({"terminated": state})


def sidecars(*names: str) -> list[Object]:
    """Containers that run on."""
    return [steps.container({"running": {"startedAt": now()}}, name=name, ready=True) for name in names]


def job_ends(kube: Kube, namespace: str, name: str) -> None:
    """Wait until a Job is gone, or about to, or closed."""

    def over() -> bool:
        job = kube.find("Job", name, namespace)
        if job is None or "deletionTimestamp" in job["metadata"]:
            return True
        return any(steps.holds(job, kind) for kind in ("Complete", "Failed")) or bool(
            job["spec"].get("suspend")
        )

    wait_for(over, f"Job {name} to be ended", timeout=120)


@pytest.mark.parametrize(
    "names", [("istio-proxy",), ("linkerd-proxy", "cloud-sql-proxy")], ids=["one", "two"]
)
def test_the_result_is_taken_and_the_sidecar_is_named(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator, names: tuple[str, ...]
) -> None:
    kube.create(resources.fine_tune("tuned", namespace))
    pod = kubelet.pod("FineTune", "tuned")
    kubelet.run(pod)
    wait_condition(kube, "FineTune", "tuned", namespace, "Reconciling", reason="Running")

    steps.statuses(kube, pod, "Running", ended(steps.published(kube, pod), 0), *sidecars(*names))

    wait_object(
        kube,
        "FineTune",
        "tuned",
        namespace,
        lambda o: all(name in steps.text(o) for name in names) or steps.holds(o, "Succeeded"),
        "names the containers that hold its pod",
    )
    wait_for(
        lambda: "SidecarRunning" in {event["reason"] for event in kube.list("Event", namespace)},
        "an Event that says so: Events are written beside the work",
    )
    done = wait_condition(kube, "FineTune", "tuned", namespace, "Succeeded", unless="Failed", timeout=150)
    assert done["status"]["artifact"]["digest"].startswith("sha256:a")
    job_ends(kube, namespace, pod["metadata"]["labels"]["job-name"])
    steps.assert_well(operator)


def test_a_stage_that_failed_beside_a_sidecar_is_told(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    kube.create(resources.fine_tune("tuned", namespace))
    pod = kubelet.pod("FineTune", "tuned")
    word = failed(FailureReason.DATASET_INVALID, "rows.jsonl:17: not JSON")

    steps.statuses(kube, pod, "Running", ended(word, 65), *sidecars("istio-proxy"))

    done = wait_condition(kube, "FineTune", "tuned", namespace, "Failed", unless="Succeeded", timeout=150)
    assert done["status"]["failure"]["reason"] == "DatasetInvalid"
    job_ends(kube, namespace, pod["metadata"]["labels"]["job-name"])


def test_a_sidecar_that_ends_in_time_is_no_trouble(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    kube.create(resources.fine_tune("tuned", namespace))
    pod = kubelet.pod("FineTune", "tuned")
    stage = ended(steps.published(kube, pod), 0)
    steps.statuses(kube, pod, "Running", stage, *sidecars("istio-proxy"))
    over = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now(), "finishedAt": now()}}

    steps.statuses(kube, pod, "Succeeded", stage, steps.container(over, name="istio-proxy"))

    wait_condition(kube, "FineTune", "tuned", namespace, "Succeeded", unless="Failed")


@pytest.mark.parametrize("kind", ["FineTune", "InferenceService"])
def test_injection_can_be_switched_off(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator, kind: str
) -> None:
    off = {"sidecar.istio.io/inject": "false"}
    pod = {"labels": off, "annotations": off | {"linkerd.io/inject": "disabled"}}
    if kind == "FineTune":
        kube.create(resources.fine_tune("tuned", namespace, pod=pod))
    else:
        kube.create(resources.service("tuned", namespace, steps.GGUF, pod=pod))

    meta = kubelet.pod(kind, "tuned")["metadata"]

    assert off.items() <= meta["labels"].items()
    assert pod["annotations"].items() <= meta["annotations"].items()


def test_a_label_of_the_operators_cannot_be_taken(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator, subtests: pytest.Subtests
) -> None:
    ours = ("speechless.dev/uid", "speechless.dev/kind", "speechless.dev/name", steps.MANAGED_BY)
    for number, label in enumerate(ours):
        with subtests.test(label):
            pod = {"labels": {label: "mine"}}
            told = steps.refused(kube, resources.fine_tune(f"tuned-{number}", namespace, pod=pod))
            if told:  # by the API server; else the operator's own label stands
                assert "labels" in told
            else:
                steps.succeed(kube, kubelet, "FineTune", f"tuned-{number}")
