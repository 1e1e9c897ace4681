"""What a failed wait says, and what a failed test leaves: written for whoever reads a red run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.apiserver.probe import Probes
from tests.support import pods
from tests.support.artifacts import dump_namespace
from tests.support.cluster import ROOT, Cluster
from tests.support.kube import ApiError, Kube
from tests.support.wait import WaitError, wait_condition, wait_for, wait_gone, wait_job, wait_pods


def test_a_wait_tells_conditions_events_and_pods(kube: Kube, namespace: str) -> None:
    kube.create(pods.job("work", namespace, pods.idle()))
    (pod,) = wait_pods(kube, namespace, "job-name=work", 1)
    wait_condition(kube, "Pod", pod["metadata"]["name"], namespace, "PodScheduled", "False")
    # The scheduler tells its event after the condition, and takes its time for it.
    told_of = {"Created pod", "FailedScheduling"}
    wait_for(
        lambda: all(any(word in str(event) for event in kube.list("Event", namespace)) for word in told_of),
        "the events of both",
        timeout=60,
    )

    with pytest.raises(WaitError) as told:
        wait_condition(kube, "Job", "work", namespace, "Complete", timeout=0.5)

    message = str(told.value)
    assert f"waited 0.5 s for Job {namespace}/work to have Complete=True" in message
    assert "Created pod: work-" in message, "the Job's event"
    assert f"pod {pod['metadata']['name']}: Pending" in message
    assert "PodScheduled=False (Unschedulable)" in message
    assert "FailedScheduling" in message, "the pod's event"


def test_a_wait_for_what_cannot_come_ends_at_once(kube: Kube, namespace: str) -> None:
    kube.create(pods.job("work", namespace, pods.idle(), activeDeadlineSeconds=1))

    with pytest.raises(WaitError, match=r"but Failed=True[^$]*Failed=True \(DeadlineExceeded\)"):
        wait_job(kube, "work", namespace, timeout=60)


def test_a_wait_for_what_does_not_exist_says_so(kube: Kube, namespace: str) -> None:
    with pytest.raises(WaitError, match="Job work does not exist"):
        wait_job(kube, "work", namespace, timeout=0.2)


def test_a_wait_tells_the_conditions_of_a_custom_resource(kube: Kube, namespace: str, probes: Probes) -> None:
    kube.create(probes.valid("p", namespace))
    condition = {"type": "Ready", "status": "False", "reason": "WaitingForInput", "message": "no model yet"}
    kube.apply_status(probes.make("p", namespace, status={"phase": "Pending", "conditions": [condition]}))

    with pytest.raises(WaitError) as told:
        wait_condition(kube, probes.kind, "p", namespace, "Ready", timeout=0.2)

    assert "Ready=False (WaitingForInput): no model yet" in str(told.value)
    assert "'phase': 'Pending'" in str(told.value)
    with pytest.raises(WaitError, match="to be gone"):
        wait_gone(kube, probes.kind, "p", namespace, timeout=0.2)


def test_a_wait_does_not_hide_an_api_error(kube: Kube, namespace: str) -> None:
    stranger = Kube(kube.access.with_token("not-a-token"))
    stranger.discovery = kube.discovery

    with pytest.raises(ApiError, match="Unauthorized"):
        wait_job(stranger, "work", namespace)


def test_artifacts_hold_all_but_secrets(kube: Kube, namespace: str, probes: Probes, tmp_path: Path) -> None:
    kube.create(probes.valid("p", namespace))
    kube.create(pods.job("work", namespace, pods.idle()))
    wait_pods(kube, namespace, "job-name=work", 1)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": namespace}}
    kube.create(secret | {"stringData": {"password": "do not tell"}})

    assert dump_namespace(kube, namespace, tmp_path) == []

    written = {path.name: path.read_text() for path in tmp_path.iterdir() if path.is_file()}
    assert {
        "jobs.batch.yaml",
        "pods.yaml",
        "secrets.yaml",
        "events.txt",
        f"probes.{probes.group}.yaml",
    } <= set(written)
    (job,) = yaml.safe_load_all(written["jobs.batch.yaml"])
    assert (job["kind"], job["metadata"]["name"]) == ("Job", "work")
    assert "Created pod: work-" in written["events.txt"]
    assert "password: <16 base64 characters>" in written["secrets.yaml"]
    assert not any("ZG8gbm90IHRlbGw" in text or "do not tell" in text for text in written.values())


FAILING = """
import pytest
from tests.support import pods
from tests.support.tier import RUN_FOLDER, cluster_of

@pytest.fixture(scope="session")
def cluster(pytestconfig, run_id):
    with cluster_of("never-started", 0, pytestconfig.stash[RUN_FOLDER], run_id) as cluster:
        yield cluster

@pytest.mark.parametrize("number", [1, 2])
def test_fails(kube, namespace, number):
    kube.create(pods.config_map("left", namespace, {"number": str(number)}))
    raise AssertionError("on purpose")

def test_passes(kube, namespace):
    kube.create(pods.config_map("forgotten", namespace, {}))
"""


@pytest.mark.timeout(200)  # a pytest run in itself
def test_a_failed_test_leaves_its_namespace_as_files(cluster: Cluster, kube: Kube, tmp_path: Path) -> None:
    """The hooks of tests/conftest.py, in a run of their own with two workers on this cluster."""
    (tmp_path / "test_inner.py").write_text(FAILING)
    command: list[str | Path] = [
        sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", ROOT / "pyproject.toml", "-n", "2",
        "-p", "no:cacheprovider", "--artifacts", tmp_path / "artifacts", tmp_path / "test_inner.py",
    ]  # fmt: skip
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}

    run = subprocess.run(
        command, cwd=ROOT, env=env | {"KUBECONFIG": str(cluster.kubeconfig)}, timeout=180,
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert run.returncode == 1, run.stdout + run.stderr
    assert "2 failed, 1 passed" in run.stdout
    written = sorted((tmp_path / "artifacts").glob("*/*/*/configmaps.yaml"))
    assert [path.parts[-3] for path in written] == ["test_inner.test_fails-1", "test_inner.test_fails-2"]
    for number, path in enumerate(written, start=1):
        assert f"number: '{number}'" in path.read_text()
        assert str(path.parent) in run.stdout, "the report names the folder"
        wait_gone(kube, "Namespace", path.parts[-2])
