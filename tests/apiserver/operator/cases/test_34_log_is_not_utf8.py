"""A pod's log that is not UTF-8.

TangleML/tangle#281, apache/airflow#63173, kubernetes-client/python#2118. Expected: the run is told Failed,
with as much of its log as can be shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.apiserver.operator import resources
from tests.apiserver.operator.cases import steps
from tests.apiserver.operator.kubelet import Kubelet, now
from tests.apiserver.operator.process import running
from tests.support.faultproxy import FaultProxy
from tests.support.faults import Answer
from tests.support.kube import Kube
from tests.support.wait import wait_condition, wait_object

pytestmark = pytest.mark.timeout(180)
BAR = ("\r 42%|" + "\u2588" * 40 + "| 42/100").encode()


@dataclass(frozen=True)
class Log(Answer):
    """The kubelet's part: there is none here, so the log comes from the proxy."""

    raw: bytes = b""

    def body(self) -> bytes:
        """The log's bytes."""
        return self.raw


LOGS = {
    "plain": (b"Traceback ...\nValueError: no\n", "ValueError: no"),
    "latin-1": ("Fehler: gr\u00f6\u00dfer\n".encode("latin-1"), "Fehler: gr"),
    "emoji": ("\U0001f917 Transformers\n".encode(), "\U0001f917 Transformers"),
    "colours": (b"\x1b[31mred\x1b[0m \x07 bell\n", "red"),
    "zero bytes": (b"before\x00\x01\x02after\n", "after"),
    "a bar without an end": (BAR * 1200, "42/100"),
    "a bar cut within a character": ((BAR * 1200)[:65536].rstrip(b"|/ 0123456789") + b"\xe2\x96", ""),
    "utf-16": ("lines\nof UTF-16\n".encode("utf-16"), ""),
    "no text at all": (bytes(range(256)) * 16, ""),
    "64 KiB of 0xff": (b"\xff" * 65536, ""),
    "4 bytes a character": (("\U0001f4a5" * 16384).encode(), "\U0001f4a5"),
    "nothing": (b"", ""),
    "a surrogate": (b"\xed\xa0\x80 lone\n", "lone"),
    "an overlong slash": (b"\xc0\xaf slash\n", "slash"),
}


def test_a_run_that_failed_is_told(
    kube: Kube,
    crds: None,
    fault_proxy: FaultProxy,
    by_proxy: Path,
    namespace: str,
    kubelet: Kubelet,
    tmp_path: Path,
    subtests: pytest.Subtests,
) -> None:
    names = {case: f"tuned-{number}" for number, case in enumerate(LOGS)}
    with running(by_proxy, namespace, tmp_path) as operator:
        for name in names.values():
            kube.create(resources.fine_tune(name, namespace, backoffLimit=0))
        for case, name in names.items():
            raw, shown = LOGS[case]
            with (
                subtests.test(case),
                fault_proxy.fault(Log(200, raw=raw), method="GET", path=f"/{name}-[^/]*/log$"),
            ):
                kubelet.finish(kubelet.pod("FineTune", name), "", exit_code=1)
                ended = wait_condition(kube, "FineTune", name, namespace, "Failed", unless="Succeeded")
                failure = ended["status"]["failure"]
                assert failure["reason"] == "StageFailed"
                assert shown in failure.get("logTail", "")
                assert len(failure.get("logTail", "").encode()) <= 2048
        steps.assert_well(operator)


@pytest.mark.parametrize("name", ["latin-1", "a bar cut within a character"])
def test_a_server_that_crashes_is_told(
    kube: Kube,
    crds: None,
    fault_proxy: FaultProxy,
    by_proxy: Path,
    namespace: str,
    kubelet: Kubelet,
    tmp_path: Path,
    name: str,
) -> None:
    fault_proxy.fault(Log(200, raw=LOGS[name][0]), method="GET", path="/log$")
    with running(by_proxy, namespace, tmp_path) as operator:
        kube.create(resources.service("chat", namespace, steps.GGUF))
        last = {"exitCode": 1, "reason": "Error", "startedAt": now(), "finishedAt": now()}
        pod = kubelet.pod("InferenceService", "chat")
        kubelet.waiting(pod, "CrashLoopBackOff", "back-off 10s", last=last, restarts=1)
        wait_object(
            kube,
            "InferenceService",
            "chat",
            namespace,
            lambda o: o.get("status", {}).get("failure"),
            "tells it",
        )
        steps.assert_well(operator)


def test_a_log_that_cannot_be_had_is_no_reason_to_be_silent(
    kube: Kube,
    crds: None,
    fault_proxy: FaultProxy,
    by_proxy: Path,
    namespace: str,
    kubelet: Kubelet,
    tmp_path: Path,
    subtests: pytest.Subtests,
) -> None:
    with running(by_proxy, namespace, tmp_path) as operator:
        for code in (400, 403, 404, 500, 503):
            name = f"tuned-{code}"
            with (
                subtests.test(code=code),
                fault_proxy.fault(Answer(code, "no log"), method="GET", path="/log$"),
            ):
                kube.create(resources.fine_tune(name, namespace, backoffLimit=0))
                kubelet.finish(kubelet.pod("FineTune", name), "", exit_code=1)
                wait_condition(kube, "FineTune", name, namespace, "Failed", unless="Succeeded")
        steps.assert_well(operator)
