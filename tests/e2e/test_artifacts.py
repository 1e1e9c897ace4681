"""What is told and left of pods that ran and failed: their logs, the ones before a restart, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import pods
from tests.support.artifacts import dump_namespace
from tests.support.kube import Kube
from tests.support.wait import WaitError, wait_object, wait_pod

# Tells its attempts apart by a file that outlives the container but not the pod.
SCRIPT = """
    import pathlib, sys, time
    count = pathlib.Path("/tmp/count")
    attempt = len(count.read_text()) if count.exists() else 0
    count.write_text("x" * (attempt + 1))
    print("attempt", attempt)
    if attempt == 0:
        sys.exit(3)
    time.sleep(600)
    """


def test_logs_of_both_attempts_are_kept(kube: Kube, namespace: str, base_image: str, tmp_path: Path) -> None:
    spec = pods.pod_spec(pods.container(base_image, pods.python(SCRIPT)), restart="OnFailure")
    kube.create(pods.pod("again", namespace, spec))

    def restarted(pod: dict[str, dict[str, list[dict[str, int]]]]) -> bool:
        return any(status["restartCount"] for status in pod["status"].get("containerStatuses", []))

    wait_object(kube, "Pod", "again", namespace, restarted, "to be restarted")
    wait_pod(kube, "again", namespace, "Running")

    assert dump_namespace(kube, namespace, tmp_path) == []

    assert (tmp_path / "logs" / "again.main.log").read_text() == "attempt 1\n"
    assert (tmp_path / "logs" / "again.main.previous.log").read_text() == "attempt 0\n"
    assert "Pod/again" in (tmp_path / "events.txt").read_text()


def test_a_wait_for_a_failed_pod_tells_its_log(kube: Kube, namespace: str, base_image: str) -> None:
    script = "import sys; print('no such dataset'); sys.exit(66)"
    kube.create(pods.pod("failed", namespace, pods.pod_spec(pods.container(base_image, pods.python(script)))))

    with pytest.raises(WaitError) as told:
        wait_pod(kube, "failed", namespace)

    message = str(told.value)
    assert f"waited for Pod {namespace}/failed to be Succeeded, but it failed" in message
    assert "main: terminated (exit 66, Error)" in message
    assert "| no such dataset" in message
