"""Every failure of a child is told on its resource: what, where, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechless.contract import FailureReason
from tests.apiserver.operator import resources
from tests.apiserver.operator.kubelet import Kubelet, failed, succeeded
from tests.apiserver.operator.process import Operator, running
from tests.support.cluster import Cluster
from tests.support.explain import condition
from tests.support.kube import Kube, Object
from tests.support.wait import wait_condition, wait_for, wait_object

pytestmark = pytest.mark.timeout(180)


def ready(obj: Object) -> str:
    """What the condition Ready says."""
    return str(condition(obj, "Ready")["message"])


def test_bad_data_ends_the_run_at_once_and_names_file_and_line(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    kube.create(resources.fine_tune("tuned", namespace))
    result = failed(FailureReason.DATASET_INVALID, "rows.jsonl:17: not JSON", "mend the line")

    kubelet.finish(kubelet.pod("FineTune", "tuned"), result)

    ended = wait_condition(kube, "FineTune", "tuned", namespace, "Failed", unless="Succeeded")
    failure = ended["status"]["failure"]
    assert (failure["reason"], failure["message"], failure["hint"], failure["exitCode"]) == (
        "DatasetInvalid", "rows.jsonl:17: not JSON", "mend the line", 65,
    )  # fmt: skip
    assert failure["pod"].startswith("tuned-ft-")
    assert ended["status"]["phase"] == "Failed"
    assert condition(ended, "Stalled")["status"] == "True"
    assert "rows.jsonl:17" in ready(ended)
    assert ended["status"]["completionTime"]


def test_a_passing_cause_is_tried_again_and_the_cause_is_shown(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    kube.create(resources.fine_tune("tuned", namespace))
    kubelet.finish(
        kubelet.pod("FineTune", "tuned"), failed(FailureReason.STORE_UNAVAILABLE, "the store is away")
    )
    retrying = wait_condition(kube, "FineTune", "tuned", namespace, "Reconciling", reason="Retrying")
    assert "attempt 1 failed: StoreUnavailable: the store is away" in ready(retrying)

    again = kubelet.pod("FineTune", "tuned", attempt=2)
    kubelet.run(again)
    runs = wait_condition(kube, "FineTune", "tuned", namespace, "Reconciling", reason="Running")
    assert "(attempt 2)" in ready(runs)
    assert runs["status"]["failure"]["reason"] == "StoreUnavailable"
    kubelet.finish(again, succeeded())

    ended = wait_condition(kube, "FineTune", "tuned", namespace, "Succeeded", unless="Failed")
    assert "failure" not in ended["status"]


def test_out_of_memory_is_not_tried_again(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    kube.create(resources.fine_tune("tuned", namespace))

    kubelet.finish(kubelet.pod("FineTune", "tuned"), "", exit_code=137, reason="OOMKilled")

    ended = wait_condition(kube, "FineTune", "tuned", namespace, "Failed", unless="Succeeded")
    assert ended["status"]["failure"]["reason"] == "OOMKilled"
    assert "limits.memory" in ended["status"]["failure"]["hint"]


def test_a_run_past_its_deadline_fails(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    kube.create(resources.fine_tune("tuned", namespace, activeDeadlineSeconds=1))

    ended = wait_condition(
        kube, "FineTune", "tuned", namespace, "Failed", reason="DeadlineExceeded", timeout=30
    )

    assert "activeDeadlineSeconds" in ready(ended)


def test_exit_code_0_without_a_result_is_a_failure(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    kube.create(resources.fine_tune("tuned", namespace))

    # What was published is found by running once more; only then there is nothing to be found.
    kubelet.finish(kubelet.pod("FineTune", "tuned"), "all good!", exit_code=0)
    wait_object(
        kube, "FineTune", "tuned", namespace, lambda f: f["status"]["run"]["attempt"] == 2, "runs once more"
    )
    kubelet.finish(kubelet.pod("FineTune", "tuned"), "all good!", exit_code=0)

    wait_condition(kube, "FineTune", "tuned", namespace, "Failed", reason="ResultMissing")


@pytest.mark.parametrize(
    ("waiting", "message", "reason", "expected"),
    [
        ("ImagePullBackOff", 'Back-off pulling image "x"', "ImagePullFailed", "imagePullSecrets"),
        (
            "CreateContainerConfigError",
            'secret "token" not found',
            "ContainerNotCreated",
            'secret "token" not found',
        ),
        (
            "CreateContainerError",
            "mounts no images",
            "ContainerNotCreated",
            "needs containerd 2.1 or CRI-O 1.31",
        ),
    ],
)
def test_a_container_that_cannot_start_is_told(
    kube: Kube,
    namespace: str,
    kubelet: Kubelet,
    operator: Operator,
    waiting: str,
    message: str,
    reason: str,
    expected: str,
) -> None:
    kube.create(resources.fine_tune("tuned", namespace))

    kubelet.waiting(kubelet.pod("FineTune", "tuned"), waiting, message)

    told = wait_condition(kube, "FineTune", "tuned", namespace, "Ready", "False", reason=reason)
    assert expected in ready(told)
    assert condition(told, "Reconciling")["status"] == "True", "it may pass"


def test_a_pod_that_no_node_takes_is_told(kube: Kube, namespace: str, operator: Operator) -> None:
    spec = {"pod": {"nodeSelector": {"speechless.dev/no-such-node": "true"}}}
    kube.create(resources.fine_tune("tuned", namespace, **spec))

    wait_condition(kube, "FineTune", "tuned", namespace, "Ready", "False", reason="Unschedulable")


def test_a_quota_that_refuses_the_pod_is_told(kube: Kube, namespace: str, operator: Operator) -> None:
    _quota(kube, namespace, {"pods": "0"})
    kube.create(resources.fine_tune("tuned", namespace))

    told = wait_condition(kube, "FineTune", "tuned", namespace, "Ready", "False", reason="QuotaExceeded")

    assert "exceeded quota: none" in ready(told)


def test_a_quota_that_refuses_the_job_is_told_and_tried_again(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    _quota(kube, namespace, {"count/jobs.batch": "0"})
    kube.create(resources.fine_tune("tuned", namespace))
    wait_condition(kube, "FineTune", "tuned", namespace, "Ready", "False", reason="QuotaExceeded")

    kube.delete("ResourceQuota", "none", namespace)

    kubelet.pod("FineTune", "tuned")
    wait_condition(kube, "FineTune", "tuned", namespace, "Reconciling")


def _quota(kube: Kube, namespace: str, hard: Object) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": namespace},
    }
    kube.create(quota | {"spec": {"hard": hard}})
    wait_for(
        lambda: kube.get("ResourceQuota", "none", namespace).get("status", {}).get("hard") == hard,
        "the quota to count",
    )


def test_a_refused_replica_is_told_on_the_service(kube: Kube, namespace: str, operator: Operator) -> None:
    _quota(kube, namespace, {"pods": "0"})
    kube.create(resources.service("chat", namespace, {"uri": "pvc://models/chat.gguf"}))

    told = wait_condition(
        kube, "InferenceService", "chat", namespace, "Ready", "False", reason="QuotaExceeded"
    )

    assert condition(told, "Available")["status"] == "False"


def test_a_server_that_ends_again_and_again_tells_its_stages_word(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    kube.create(resources.service("chat", namespace, {"uri": "pvc://models/chat.gguf"}))
    word = failed(FailureReason.DIGEST_MISMATCH, "chat.gguf: sha256 differs").termination_message()
    last = {"exitCode": 65, "reason": "Error", "message": word}

    kubelet.waiting(
        kubelet.pod("InferenceService", "chat"), "CrashLoopBackOff", "back-off 10s", last=last, restarts=1
    )

    told = wait_condition(kube, "InferenceService", "chat", namespace, "Stalled", reason="DigestMismatch")
    assert told["status"]["failure"]["message"] == "chat.gguf: sha256 differs"


def test_a_service_name_that_is_taken_is_not_taken_over(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    theirs = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "chat", "namespace": namespace}}
    kube.create(theirs | {"spec": {"ports": [{"port": 1}], "selector": {"app": "theirs"}}})
    kube.create(resources.service("chat", namespace, {"uri": "pvc://models/chat.gguf"}))
    kubelet.run(kubelet.pod("InferenceService", "chat"), ready=True)

    wait_condition(kube, "InferenceService", "chat", namespace, "Stalled", reason="NameConflict")

    assert kube.get("Service", "chat", namespace)["spec"]["selector"] == {"app": "theirs"}


def test_an_upstream_failure_is_told_and_mended_by_its_replacement(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    kube.create(resources.quantization("small", namespace, "tuned"))
    kube.create(resources.fine_tune("tuned", namespace))
    kubelet.finish(
        kubelet.pod("FineTune", "tuned"), failed(FailureReason.LOSS_NOT_FINITE, "loss is NaN at step 3")
    )
    told = wait_condition(kube, "Quantization", "small", namespace, "Stalled", reason="UpstreamFailed")
    assert "FineTune tuned failed: LossNotFinite: loss is NaN at step 3" in ready(told)

    kube.delete("FineTune", "tuned", namespace)
    wait_condition(kube, "Quantization", "small", namespace, "Ready", "False", reason="WaitingForInput")
    kube.create(resources.fine_tune("tuned", namespace))
    kubelet.finish(kubelet.pod("FineTune", "tuned"), succeeded())

    kubelet.pod("Quantization", "small")


def test_what_the_operator_does_not_allow_is_told_with_the_fields_path(
    kube: Kube, crds: None, cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    kube.create(resources.fine_tune("tuned", namespace, model={"uri": "file:///models/base"}))
    kube.create(resources.fine_tune("lost", namespace, output={"uri": "file:///out"}))

    with running(cluster.kubeconfig, namespace, tmp_path):
        told = wait_condition(kube, "FineTune", "tuned", namespace, "Stalled", reason="InvalidSpec")
        lost = wait_condition(kube, "FineTune", "lost", namespace, "Stalled", reason="InvalidSpec")

    assert ready(told).startswith("spec.model.uri: file:// is not allowed")
    assert ready(lost).startswith("spec.output.uri: ")
    assert kube.list("Job", namespace) == []
