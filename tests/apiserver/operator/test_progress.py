"""Progress: asked of running pods, written under a manager of its own, never faster than it should be."""

from __future__ import annotations

import random
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from speechless.contract import Metric, Progress, ProgressPhase
from speechless.contract.progress import PORT
from tests.apiserver.operator import resources
from tests.apiserver.operator.kubelet import Kubelet, succeeded
from tests.apiserver.operator.process import Operator
from tests.support.kube import Kube
from tests.support.wait import wait_condition, wait_object

TOLD = Progress(
    phase=ProgressPhase.WORKING,
    step=3,
    total_steps=12,
    percent=25,
    remaining_seconds=9,
    metrics=(Metric(name="loss", value=1.25),),
)


@pytest.fixture
def stage() -> Iterator[str]:
    """Something that answers as a stage does; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/progress"
            body = TOLD.to_json().encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: the test's output is the operator's."""

    # Every address of 127/8 is this machine: tests beside each other take different ones.
    address = f"127.{random.randrange(1, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}"
    server = ThreadingHTTPServer((address, PORT), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield address
    server.shutdown()
    server.server_close()


def test_progress_of_a_running_pod_is_in_the_status(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator, stage: str
) -> None:
    kube.create(resources.fine_tune("tuned", namespace))
    pod = kubelet.pod("FineTune", "tuned")
    kubelet.run(pod, ip=stage)

    seen = wait_object(
        kube, "FineTune", "tuned", namespace, lambda o: o.get("status", {}).get("progress"), "has progress"
    )

    assert seen["status"]["progress"] == {
        "phase": "Working",
        "percent": 25,
        "step": 3,
        "totalSteps": 12,
        "remainingSeconds": 9,
        "summary": "25% 3/12 ~9s",
        "metrics": [{"name": "loss", "value": 1.25}],
    }
    managers = {entry["manager"]: entry for entry in seen["metadata"]["managedFields"]}
    assert "f:progress" in str(managers["speechless-progress"])
    assert "f:progress" not in str(managers["speechless-operator"])

    kubelet.finish(pod, succeeded())
    ended = wait_condition(kube, "FineTune", "tuned", namespace, "Succeeded")
    ended = wait_object(
        kube,
        "FineTune",
        "tuned",
        namespace,
        lambda o: o["status"]["progress"]["percent"] == 100,
        "is at 100 %",
    )
    assert ended["status"]["progress"]["step"] == 12
    assert ended["status"]["progress"]["metrics"] == [{"name": "loss", "value": 1.25}]
