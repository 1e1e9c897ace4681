"""A metric that is not a number.

kubeflow/katib#1227, #2723. Expected: the run succeeded, without that metric; a gate on it does not pass.
"""

from __future__ import annotations

import json

import pytest

from tests.apiserver.operator import resources
from tests.apiserver.operator.cases import steps
from tests.apiserver.operator.kubelet import Kubelet, succeeded
from tests.apiserver.operator.process import Operator
from tests.support.kube import Kube, Object
from tests.support.wait import wait_condition

pytestmark = pytest.mark.timeout(180)
WRITTEN = {
    "null": "null",
    "NaN": "NaN",
    "infinite": "Infinity",
    "minus infinite": "-Infinity",
    "overflow": "1e999",
    "text": '"lots"',
    "object": "{}",
    "list": "[1]",
    "integer of 400 digits": "1" * 400,
}


def message(kube: Kube, pod: Object, metric: str, value: str, *good: str, form: str = "HuggingFace") -> str:
    """A good result in which one metric has this value, as a program may have written it."""
    told = json.loads(steps.published(kube, pod, form=form, inputs={"model": "a"}).termination_message())
    numbers = [{"name": metric, "value": 12345.5}, *({"name": name, "value": 0.5} for name in good)]
    return json.dumps(told | {"metrics": numbers}).replace("12345.5", value)


def test_the_run_succeeded_without_that_metric(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator, subtests: pytest.Subtests
) -> None:
    names = {case: f"tuned-{number}" for number, case in enumerate(WRITTEN)}
    for name in names.values():
        kube.create(resources.fine_tune(name, namespace))
    for case, name in names.items():
        with subtests.test(case):
            pod = kubelet.pod("FineTune", name)
            kubelet.finish(pod, message(kube, pod, "loss", WRITTEN[case], "accuracy"))
            ended = wait_condition(kube, "FineTune", name, namespace, "Succeeded", unless="Failed")
            assert ended["status"]["metrics"] == [{"name": "accuracy", "value": 0.5}]
    steps.assert_well(operator)


def test_a_gate_on_it_does_not_pass(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator, subtests: pytest.Subtests
) -> None:
    names = {case: f"scored-{number}" for number, case in enumerate(WRITTEN)}
    for name in names.values():
        kube.create(resources.evaluation(name, namespace, resources.BASE))
    for case, name in names.items():
        with subtests.test(case):
            pod = kubelet.pod("Evaluation", name)
            text = message(kube, pod, "humaneval/pass@1", WRITTEN[case], "humaneval/samples", form="Report")
            kubelet.finish(pod, text)
            ended = wait_condition(kube, "Evaluation", name, namespace, "Succeeded", unless="Failed")
            assert steps.text(ended, "Passed").startswith("Passed=False MetricMissing")
    steps.assert_well(operator)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_our_own_stages_leave_it_out(value: float) -> None:
    told = json.loads(succeeded(loss=value, accuracy=0.5).termination_message())
    assert told["metrics"] == [{"name": "accuracy", "value": 0.5}]
