"""The API server answers 401, or otherwise says no, for a while.

nolar/kopf#934, #1145. Expected: it heals by itself.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.apiserver.operator import resources
from tests.apiserver.operator.cases import steps
from tests.apiserver.operator.kubelet import Kubelet
from tests.apiserver.operator.process import running
from tests.support.faultproxy import FaultProxy
from tests.support.faults import Answer
from tests.support.kube import Kube
from tests.support.wait import wait_condition, wait_for

pytestmark = pytest.mark.timeout(420)


def test_reading_heals(
    kube: Kube,
    crds: None,
    fault_proxy: FaultProxy,
    by_proxy: Path,
    namespace: str,
    tmp_path: Path,
    subtests: pytest.Subtests,
) -> None:
    """No resync helps: it is every 10 minutes."""
    with running(by_proxy, namespace, tmp_path, "--resync-seconds=600") as operator:
        operator.wait_leading()
        steps.works(kube, "before", namespace, resources.fine_tune("before", namespace))
        for code in (401, 403, 404, 429, 500, 503):
            with subtests.test(code=code):
                answer = Answer(code, "for a while")
                with fault_proxy.fault(answer, method="GET", path="/(finetunes|jobs|pods)$") as refused:
                    fault_proxy.cut_watches()
                    wait_for(lambda refused=refused: refused.hits >= 4, "it to have been refused", timeout=60)
                    assert operator.process.is_alive()
                kube.create(resources.fine_tune(f"after-{code}", namespace))
                wait_condition(kube, "FineTune", f"after-{code}", namespace, "Ready", "False", timeout=90)
                steps.succeed(kube, Kubelet(kube, namespace), "FineTune", f"after-{code}")
        steps.assert_well(operator)


def test_writing_is_told_and_heals(
    kube: Kube,
    crds: None,
    fault_proxy: FaultProxy,
    by_proxy: Path,
    namespace: str,
    tmp_path: Path,
    subtests: pytest.Subtests,
) -> None:
    with running(by_proxy, namespace, tmp_path) as operator:
        operator.wait_leading()
        for code in (401, 403, 404, 409, 422, 429, 500, 503, 504):
            with subtests.test(code=code):
                name, word = f"tuned-{code}", f"a webhook says {code}"
                with fault_proxy.fault(Answer(code, word), method="PATCH", path=f"/(jobs|configmaps)/{name}"):
                    kube.create(resources.fine_tune(name, namespace))
                    said = partial(steps.said, kube, "FineTune", name, namespace)
                    wait_for(lambda said=said, word=word: word in said(), "it to say so", describe=said)
                steps.succeed(kube, Kubelet(kube, namespace), "FineTune", name)
        steps.assert_well(operator)
