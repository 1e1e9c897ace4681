"""What is written to the status exceeds the CRD's own limit.

apecloud/kubeblocks#10324, kubernetes-sigs/kueue#14985. Expected: cut, never refused; whatever a pod says,
the resource says how it ended.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.apiserver.operator import resources
from tests.apiserver.operator.cases import steps
from tests.apiserver.operator.kubelet import Kubelet
from tests.apiserver.operator.process import Operator
from tests.support.explain import condition
from tests.support.kube import Kube, Object
from tests.support.wait import wait_condition, wait_for

pytestmark = pytest.mark.timeout(180)
Edit = Callable[[dict[str, Any]], None]
LONG = "m" * 300
EMOJI = "\U0001f4a5"
DIGEST = "sha256:" + "a" * 64


def longest_uri(kube: Kube, field: str) -> str:
    """The longest uri that a field of a FineTune's spec takes, by the CRD itself."""
    crd = kube.get("CustomResourceDefinition", "finetunes.speechless.dev")
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    limit = schema[field]["properties"]["uri"]["maxLength"]
    path = "/".join(["d" * 99] * (limit // 100 + 1))
    return f"pvc://artifacts/{path}"[:limit].rstrip("/")


def test_the_longest_output_is_told_whole(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    uri = longest_uri(kube, "output")
    kube.create(resources.fine_tune("deep", namespace, output={"uri": uri}))
    pod = kubelet.pod("FineTune", "deep")

    ended = steps.succeed_running(kube, kubelet, "FineTune", "deep", pod)

    assert ended["status"]["artifact"]["uri"].startswith(uri)
    kube.create(resources.quantization("small", namespace, "deep"))
    mounted = steps.mounted(kube, kubelet.pod("Quantization", "small"))
    assert mounted["model"]["uri"] == ended["status"]["artifact"]["uri"]
    steps.assert_well(operator)


def test_the_longest_input_is_told_whole(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    uri = longest_uri(kube, "model")
    kube.create(resources.fine_tune("far", namespace, model={"uri": uri}, dataset={"uri": uri}))
    kube.create(resources.service("chat", namespace, {"uri": uri}))
    ended = steps.succeed(kube, kubelet, "FineTune", "far")
    assert {found["uri"] for found in ended["status"]["inputs"]} == {uri}
    steps.serve(kube, kubelet, "chat")


def test_a_verdict_of_full_length_reaches_the_service(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    gates = [{"metric": f"{'m' * 125}{number:03d}", "min": 0.123456} for number in range(32)]
    model = steps.GGUF | {"digest": DIGEST}
    kube.create(resources.evaluation("scored", namespace, model, minimum=None, gates=gates))
    kube.create(resources.service("chat", namespace, model, "scored"))

    scored = steps.succeed(
        kube, kubelet, "Evaluation", "scored", form="Report", inputs={"model": "a"}, humaneval__x=1
    )

    assert len(condition(scored, "Passed")["message"]) <= 4096  # type: ignore[index]
    told = wait_condition(
        kube, "InferenceService", "chat", namespace, "GatePassed", "False", reason="GateFailed"
    )
    assert "evaluation scored" in steps.text(told, "GatePassed")
    steps.assert_well(operator)


def edited(kube: Kube, pod: Object, edit: Edit) -> str:
    """What a stage of somebody else might say: a good result, and one thing that no one expects."""
    told: dict[str, Any] = json.loads(steps.published(kube, pod, loss=0.5).termination_message())
    edit(told)
    return json.dumps(told, ensure_ascii=False)


def put(*path: Any, value: Any) -> Edit:
    """Set one value in a result."""

    def edit(told: Any) -> None:
        for step in path[:-1]:
            told = told[step]
        told[path[-1]] = value

    return edit


GOOD = {
    "long version": put("versions", "torch", value=LONG),
    "long name of a version": put("versions", LONG, value="1"),
    "many versions": put("versions", value={f"lib{number}": "1" for number in range(70)}),
    "seed beyond int64": put("seed", value=2**63),
    "size beyond int64": put("artifact", "sizeBytes", value=2**63),
    "long name of a metric": put("metrics", 0, "name", value=LONG),
    "many metrics": put("metrics", value=[{"name": f"m{number}", "value": number} for number in range(70)]),
    "the same metric twice": put("metrics", value=[{"name": "m", "value": 1}, {"name": "m", "value": 2}]),
    "a field of tomorrow": put("energyJoules", value=7),
    "emoji in a version": put("versions", "torch", value=EMOJI * 256),
}


def test_a_good_result_with_something_odd_is_a_good_result(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator, subtests: pytest.Subtests
) -> None:
    names = {case: f"tuned-{number}" for number, case in enumerate(GOOD)}
    for name in names.values():
        kube.create(resources.fine_tune(name, namespace))
    for case, name in names.items():
        with subtests.test(case):
            pod = kubelet.pod("FineTune", name)
            kubelet.finish(pod, edited(kube, pod, GOOD[case]))
            ended = wait_condition(kube, "FineTune", name, namespace, "Succeeded", unless="Failed")
            assert ended["status"]["artifact"]["digest"] == DIGEST
    steps.assert_well(operator)


BAD = {
    "an artifact elsewhere": put("artifact", "uri", value="pvc://artifacts/store/elsewhere"),
    "an artifact in the pod": put("artifact", "uri", value="file:///etc"),
    "an endless address": put("artifact", "uri", value="pvc://artifacts/" + "x" * 3000),
    "no digest": put("artifact", "digest", value="x"),
    "no artifact": put("artifact", value=None),
    "not JSON": None,
}


def test_a_result_that_cannot_be_taken_is_told_and_nothing_of_it_is(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator, subtests: pytest.Subtests
) -> None:
    names = {case: f"tuned-{number}" for number, case in enumerate(BAD)}
    for name in names.values():
        kube.create(resources.fine_tune(name, namespace))
    for case, name in names.items():
        with subtests.test(case):
            seen: set[str] = set()
            look = partial(_finish_all, kube, kubelet, name, BAD[case], seen)
            ended = wait_for(look, "it to say that it failed", timeout=90)
            assert ended is not None
            assert "artifact" not in ended["status"]
            assert ended["status"]["failure"]["message"]
            assert len(seen) <= 2, "it is tried once more at most"
    steps.assert_well(operator)


def _finish_all(kube: Kube, kubelet: Kubelet, name: str, edit: Edit | None, seen: set[str]) -> Object | None:
    """Let every new pod end with that result; the resource once it has failed."""
    for pod in steps.of(kube, "FineTune", name, kubelet.namespace, "Pod"):
        if pod["status"].get("phase") == "Pending" and pod["metadata"]["uid"] not in seen:
            seen.add(pod["metadata"]["uid"])
            kubelet.finish(pod, edited(kube, pod, edit) if edit else "{" * 4096)
    found = kube.get("FineTune", name, kubelet.namespace)
    assert not steps.holds(found, "Succeeded")
    return found if steps.holds(found, "Failed") else None


LAST_WORDS = {
    "4 bytes": EMOJI * 1000,
    "one line": "x" * 4096,
    "lines": "\n" * 4096,
    "control": "\u0000\u0001" * 100,
}


def test_the_last_words_of_a_crash_are_told_as_far_as_they_fit(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator, subtests: pytest.Subtests
) -> None:
    names = {case: f"loud-{number}" for number, case in enumerate(LAST_WORDS)}
    for name in names.values():
        kube.create(resources.fine_tune(name, namespace, backoffLimit=0))
    for case, name in names.items():
        with subtests.test(case):
            kubelet.finish(kubelet.pod("FineTune", name), LAST_WORDS[case], exit_code=1)
            ended = wait_condition(kube, "FineTune", name, namespace, "Failed", unless="Succeeded")
            assert ended["status"]["failure"]["exitCode"] == 1
    steps.assert_well(operator)


ODD_PROGRESS = (
    ("step", 2**63),
    ("totalSteps", 2**63),
    ("remainingSeconds", 2**63),
    ("message", "x" * 256),
    ("step", -1),
)


def test_progress_beyond_the_limits_does_not_stop_progress(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    address = steps.free_address()
    kube.create(resources.fine_tune("tuned", namespace))
    pod = kubelet.pod("FineTune", "tuned")
    kubelet.run(pod, ip=address)
    wait_condition(kube, "FineTune", "tuned", namespace, "Reconciling", reason="Running")
    base = {"phase": "Working", "step": 3, "totalSteps": 12, "percent": 25}
    for field, value in ODD_PROGRESS:
        with steps.stage_at(address, json.dumps(base | {field: value}).encode()) as asked:
            wait_for(lambda asked=asked: len(asked) >= 2, f"{field}={value} to be read", timeout=60)
    with steps.stage_at(address, json.dumps(base | {"step": 5}).encode()):
        steps.step_of(kube, "FineTune", "tuned", namespace, 5)
    steps.succeed_running(kube, kubelet, "FineTune", "tuned", pod)
    steps.assert_well(operator)
