"""Characters beyond U+FFFF, and others that somebody's parser stumbles over.

go-yaml/yaml#279, mikefarah/yq#2206. Expected: text is text: told, run, served, as it was written.
"""

from __future__ import annotations

import pytest

from speechless.contract import FailureReason, Progress, ProgressPhase
from tests.apiserver.operator import resources
from tests.apiserver.operator.cases import steps
from tests.apiserver.operator.kubelet import Kubelet, failed
from tests.apiserver.operator.process import Operator
from tests.support.kube import Kube
from tests.support.wait import wait_condition, wait_for, wait_object

pytestmark = pytest.mark.timeout(180)
TEXTS = {
    "rocket": "\U0001f680",
    "rare CJK": "\U00020bb7",
    "family": "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "right to left": "\u202e\u05d0\u05d1\u202c",
    "byte order mark": "\ufeffx",
    "line separator": "a\u2028b\u2029c",
    "not a character": "\uffff",
    "private use": "\U0010ffff",
    "combining": "e\u0301\u0301\u0301",
    "yaml": "{x: [1, \"2\"], '3': !!python/none} # & * | > %",
    "quotes": "\"'`\\\\n",
}
CONTROL = {
    "start of heading": "a\u0001b",
    "escape": "\u001b[31mred\u001b[0m",
    "delete": "a\u007fb",
    "bell": "\u0007",
}
"""Nobody wants to see them; they must stop nothing."""


@pytest.mark.parametrize("what", [*TEXTS, *CONTROL])
def test_a_stages_failure_is_told(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator, what: str
) -> None:
    said = f"rows.jsonl:17: not JSON: {(TEXTS | CONTROL)[what]} end"
    kube.create(resources.fine_tune("tuned", namespace))

    kubelet.finish(
        kubelet.pod("FineTune", "tuned"), failed(FailureReason.DATASET_INVALID, said, f"mend {said}")
    )

    ended = wait_condition(kube, "FineTune", "tuned", namespace, "Failed", unless="Succeeded")
    failure = ended["status"]["failure"]
    assert failure["reason"] == "DatasetInvalid"
    assert failure["message"].startswith("rows.jsonl:17: not JSON: ")
    assert failure["message"].endswith(" end")
    if what in TEXTS:
        assert failure["message"] == said
        assert failure["hint"] == f"mend {said}"
    told = wait_for(
        lambda: [e for e in kube.list("Event", namespace) if e["reason"] == "DatasetInvalid"], "an Event"
    )
    assert "rows.jsonl:17" in told[0]["message"]
    steps.assert_well(operator)


@pytest.mark.parametrize("what", [*TEXTS, *CONTROL])
def test_what_a_spec_says_reaches_the_stage(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator, what: str
) -> None:
    said = (TEXTS | CONTROL)[what]
    path = f"pvc://models/{said}/rows.jsonl"
    env = [{"name": "GREETING", "value": f"hello {said}"}]
    fine_tune = resources.fine_tune("tuned", namespace, dataset={"uri": path}, pod={"env": env})
    served = resources.service("chat", namespace, steps.GGUF, modelName=f"gpt-{said}")
    for obj in (fine_tune, served):
        if steps.refused(kube, obj):  # a CRD may have a word about what no path or name should have
            assert what in CONTROL
            return

    pod = kubelet.pod("FineTune", "tuned")
    assert steps.mounted(kube, pod)["dataset"]["uri"] == path
    variables = {v["name"]: v.get("value") for v in pod["spec"]["containers"][0]["env"]}
    assert variables["GREETING"] == f"hello {said}"
    ended = steps.succeed_running(kube, kubelet, "FineTune", "tuned", pod)
    assert path in [found["uri"] for found in ended["status"]["inputs"]]
    pod = kubelet.pod("InferenceService", "chat")
    assert steps.mounted(kube, pod)["modelName"] == f"gpt-{said}"
    steps.serve(kube, kubelet, "chat")
    steps.assert_well(operator)


@pytest.mark.parametrize("what", [*TEXTS, *CONTROL])
def test_an_override_is_told_with_its_reason(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator, what: str
) -> None:
    said = f"ship it {(TEXTS | CONTROL)[what]} today"
    model = steps.GGUF | {"digest": "sha256:" + "a" * 64}
    override = {"speechless.dev/gate-override": said}
    kube.create(resources.service("chat", namespace, model, "none", annotations=override))

    opened = wait_condition(kube, "InferenceService", "chat", namespace, "GatePassed", reason="Overridden")

    reason = opened["status"]["gate"]["override"]["reason"]
    assert reason.startswith("ship it ")
    assert reason.endswith(" today")
    if what in TEXTS:
        assert reason == said
    steps.serve(kube, kubelet, "chat")
    steps.assert_well(operator)


@pytest.mark.parametrize("what", TEXTS)
def test_progress_and_metrics_are_told(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator, what: str
) -> None:
    address = steps.free_address()
    kube.create(resources.fine_tune("tuned", namespace))
    pod = kubelet.pod("FineTune", "tuned")
    kubelet.run(pod, ip=address)
    told = Progress(
        phase=ProgressPhase.WORKING, step=3, total_steps=9, percent=33, message=f"reads {TEXTS[what]}"
    )

    with steps.stage_at(address, told):
        seen = steps.step_of(kube, "FineTune", "tuned", namespace, 3)

    assert seen["status"]["progress"]["message"] == f"reads {TEXTS[what]}"
    result = steps.published(kube, pod, **{f"loss {TEXTS[what]}": 0.5})
    kubelet.finish(pod, result)
    ended = wait_object(
        kube, "FineTune", "tuned", namespace, lambda o: steps.holds(o, "Succeeded"), "has succeeded"
    )
    assert ended["status"]["metrics"] == [{"name": f"loss {TEXTS[what]}", "value": 0.5}]
    steps.assert_well(operator)
