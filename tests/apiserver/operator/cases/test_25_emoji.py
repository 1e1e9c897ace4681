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
from tests.support.kube import Kube, Object
from tests.support.wait import wait_condition, wait_for

pytestmark = pytest.mark.timeout(180)
TEXTS = {
    "rocket": "\U0001f680",
    "rare CJK": "\U00020bb7",
    "family": "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "right to left": "\u202e\u05d0\u05d1\u202c",
    "byte order mark": "\ufeffx",
    "line separator": "a\u2028b\u2029c",
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
    "next line": "a\u0085b",
    "control sequence introducer": "a\u009bb",
    "not a character": "\uffff",
}
"""Nobody wants to see them; they must stop nothing."""


ALL = TEXTS | CONTROL


def named(what: dict[str, str], prefix: str) -> dict[str, str]:
    """A resource's name for each row."""
    return {row: f"{prefix}-{number}" for number, row in enumerate(what)}


def test_a_stages_failure_is_told(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator, subtests: pytest.Subtests
) -> None:
    names = named(ALL, "tuned")
    for name in names.values():
        kube.create(resources.fine_tune(name, namespace))
    for what, name in names.items():
        with subtests.test(what):
            said = f"rows.jsonl:17: not JSON: {ALL[what]} end"
            word = failed(FailureReason.DATASET_INVALID, said, f"mend {said}")
            kubelet.finish(kubelet.pod("FineTune", name), word)
            ended = wait_condition(kube, "FineTune", name, namespace, "Failed", unless="Succeeded")
            failure = ended["status"]["failure"]
            assert failure["reason"] == "DatasetInvalid"
            assert failure["message"].startswith("rows.jsonl:17: not JSON: ")
            assert failure["message"].endswith(" end")
            if what in TEXTS:
                assert failure["message"] == said
                assert failure["hint"] == f"mend {said}"
    told = wait_for(lambda: _events(kube, namespace, len(names)), "an Event for each")
    assert all("rows.jsonl:17" in event["message"] for event in told)
    steps.assert_well(operator)


def _events(kube: Kube, namespace: str, number: int) -> list[Object]:
    found = [event for event in kube.list("Event", namespace) if event["reason"] == "DatasetInvalid"]
    return found if len({event["involvedObject"]["name"] for event in found}) == number else []


def test_what_a_spec_says_reaches_the_stage(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator, subtests: pytest.Subtests
) -> None:
    for what, name in named(ALL, "tuned").items():
        with subtests.test(what):
            path, hello = f"pvc://models/{ALL[what]}/rows.jsonl", f"hello {ALL[what]}"
            env = [{"name": "GREETING", "value": hello}]
            fine_tune = resources.fine_tune(name, namespace, dataset={"uri": path}, pod={"env": env})
            if steps.refused(kube, fine_tune):  # a CRD may have a word about what no path should have
                assert what in CONTROL
                continue
            pod = kubelet.pod("FineTune", name)
            assert steps.mounted(kube, pod)["dataset"]["uri"] == path
            variables = {v["name"]: v.get("value") for v in pod["spec"]["containers"][0]["env"]}
            assert variables["GREETING"] == hello
            ended = steps.succeed_running(kube, kubelet, "FineTune", name, pod)
            assert path in [found["uri"] for found in ended["status"]["inputs"]]
    steps.assert_well(operator)


def test_a_models_name_reaches_the_server(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator, subtests: pytest.Subtests
) -> None:
    for what, name in named(ALL, "chat").items():
        with subtests.test(what):
            model = f"gpt-{ALL[what]}"
            if steps.refused(kube, resources.service(name, namespace, steps.GGUF, modelName=model)):
                assert what in CONTROL
                continue
            assert steps.mounted(kube, kubelet.pod("InferenceService", name))["modelName"] == model
            steps.serve(kube, kubelet, name)
    steps.assert_well(operator)


def test_an_override_is_told_with_its_reason(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator, subtests: pytest.Subtests
) -> None:
    model = steps.GGUF | {"digest": "sha256:" + "a" * 64}
    for what, name in named(ALL, "chat").items():
        with subtests.test(what):
            said = f"ship it {ALL[what]} today"
            override = {"speechless.dev/gate-override": said}
            kube.create(resources.service(name, namespace, model, "none", annotations=override))
            opened = wait_condition(
                kube, "InferenceService", name, namespace, "GatePassed", reason="Overridden"
            )
            reason = opened["status"]["gate"]["override"]["reason"]
            assert reason.startswith("ship it ")
            assert reason.endswith(" today")
            if what in TEXTS:
                assert reason == said
            steps.serve(kube, kubelet, name)
    steps.assert_well(operator)


def test_progress_and_metrics_are_told(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator, subtests: pytest.Subtests
) -> None:
    names = named(TEXTS, "tuned")
    for name in names.values():
        kube.create(resources.fine_tune(name, namespace))
    for what, name in names.items():
        with subtests.test(what):
            address = steps.free_address()
            pod = kubelet.pod("FineTune", name)
            message = f"reads {TEXTS[what]}"
            told = Progress(phase=ProgressPhase.WORKING, step=3, total_steps=9, percent=33, message=message)
            with steps.stage_at(address, told):
                kubelet.run(pod, ip=address)
                seen = steps.step_of(kube, "FineTune", name, namespace, 3)
            assert seen["status"]["progress"]["message"] == message
            kubelet.finish(pod, steps.published(kube, pod, **{f"loss {TEXTS[what]}": 0.5}))
            ended = wait_condition(kube, "FineTune", name, namespace, "Succeeded", unless="Failed")
            assert ended["status"]["metrics"] == [{"name": f"loss {TEXTS[what]}", "value": 0.5}]
    steps.assert_well(operator)
