"""Without a node: seconds each."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.conftest import Program
from tests.cluster.leftovers import listing, new_since, of_instance

pytestmark = pytest.mark.timeout(300)


def test_up_twice_kill_all_down_and_nothing_is_left(control_plane: Program) -> None:
    before = listing()
    control_plane.done("up", "--nodes", "0")
    index = control_plane.index()
    first = control_plane.pids()
    control_plane.done("up")
    assert control_plane.pids() == first, "a second `up` must leave what runs alone"
    control_plane.kubectl("create", "configmap", "kept", "--from-literal=a=b")

    # All at once; one after the other is the test with a node, which has these and more.
    for name, pid in first.items():
        os.kill(pid, signal.SIGKILL)
        while control_plane.pids().get(name) == pid:
            time.sleep(0.05)
    assert control_plane.status()["state"] == "stopped"
    control_plane.done("up")
    assert control_plane.status()["state"] == "running"
    assert not set(control_plane.pids().values()) & set(first.values())
    control_plane.done("down")
    assert of_instance(control_plane.name, index) == []
    assert new_since(before) == []
    assert control_plane.status()["state"] == "stopped"

    control_plane.done("up")
    assert "kept" in control_plane.kubectl("get", "configmaps", "-o", "name")


def test_a_second_up_at_the_same_time_is_told_who_is_at_it(control_plane: Program) -> None:
    argv, env = control_plane.argv("up", "--nodes", "0"), control_plane.environment()
    with subprocess.Popen(
        argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as first:
        while not (control_plane.state / control_plane.name).exists() and first.poll() is None:
            time.sleep(0.01)
        message = control_plane.refused("up", "--nodes", "0")
        assert f"pid {first.pid}" in message
        assert "wait for it" in message
        first.communicate()
    assert first.returncode == 0


def test_an_interrupted_up_is_completed_by_the_next(control_plane: Program) -> None:
    argv, env = control_plane.argv("up", "--nodes", "0"), control_plane.environment()
    for seconds in (0.4, 1.2, 2.5):
        with subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as started:
            time.sleep(seconds)
            started.kill()
    control_plane.done("up", "--nodes", "0")
    assert control_plane.status()["state"] == "running"


def test_a_stranger_under_a_stale_pid_is_never_touched(control_plane: Program) -> None:
    control_plane.done("up", "--nodes", "0")
    file = Path(f"/run/speechless-cluster/{control_plane.name}/pid/kube-scheduler")
    os.kill(control_plane.pids()["kube-scheduler"], signal.SIGKILL)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as stranger:
        recorded = json.loads(file.read_text())
        file.write_text(json.dumps({**recorded, "pid": stranger.pid}))
        control_plane.done("up")
        assert control_plane.status()["state"] == "running"
        recorded = json.loads(file.read_text())
        file.write_text(json.dumps({**recorded, "pid": stranger.pid}))
        control_plane.done("down")
        assert stranger.poll() is None, "the cluster program killed somebody else's process"
        stranger.kill()


def test_a_half_deleted_state_folder_is_repaired_or_named(control_plane: Program) -> None:
    control_plane.done("up", "--nodes", "0")
    control_plane.kubectl("create", "configmap", "kept")
    control_plane.done("down")
    folder = control_plane.state / control_plane.name
    shutil.rmtree(folder / "log")
    shutil.rmtree(folder / "bin")
    for file in (
        *folder.glob("pki/*.kubeconfig"),
        *folder.glob("pki/apiserver.*"),
        folder / "audit-policy.json",
    ):
        file.unlink()
    control_plane.done("up")
    assert "kept" in control_plane.kubectl("get", "configmaps", "-o", "name")
    control_plane.done("down")

    shutil.rmtree(folder / "pki")
    assert f"cluster reset {control_plane.name}" in control_plane.refused("up")
    (folder / "instance.json").write_text("{half")
    assert "instance.json can't be read" in control_plane.refused("up")
    control_plane.done("reset")
    assert not folder.exists()
    control_plane.done("up", "--nodes", "0")


def test_what_lost_its_state_while_it_ran_can_be_stopped(control_plane: Program) -> None:
    control_plane.done("up", "--nodes", "0")
    index = control_plane.index()
    shutil.rmtree(control_plane.state / control_plane.name)
    control_plane.done("down")
    assert of_instance(control_plane.name, index) == []


def test_a_port_in_use_is_named_before_anything_starts(control_plane: Program) -> None:
    control_plane.done("up", "--nodes", "0")
    os.kill(control_plane.pids()["kube-scheduler"], signal.SIGKILL)
    listen = "import socket,time; s=socket.create_server(('127.0.0.1',10259)); print('ok',flush=True); time.sleep(600)"
    inside = ["nsenter", f"--net=/run/netns/speechless-{control_plane.name}", sys.executable, "-c", listen]
    deadline = time.monotonic() + 20
    while "kube-scheduler" in control_plane.pids():
        assert time.monotonic() < deadline
    with subprocess.Popen(inside, stdout=subprocess.PIPE, text=True) as stranger:
        assert stranger.stdout is not None
        assert stranger.stdout.readline().strip() == "ok"
        message = control_plane.refused("up")
        assert "port 10259" in message
        assert "kube-scheduler" in message
        stranger.kill()
    control_plane.done("up")


def test_a_disk_that_is_too_small_is_named_before_anything_starts(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(small)], check=True)
    try:
        program = Program("test-own-full", small)
        message = program.refused("up", "--nodes", "0")
        assert "GiB are free" in message
        assert "SPEECHLESS_CLUSTER_STATE" in message
        assert program.status()["state"] == "absent"
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_unknown_names_and_commands_are_named(control_plane: Program) -> None:
    assert f"there is no instance {control_plane.name!r}" in control_plane.refused("down")
    assert "can't name an instance" in Program("No_Such", control_plane.state).refused("up")
    wrong = control_plane.run("upp")
    assert wrong.returncode == 2
    assert "upp" in wrong.stderr


def test_state_below_run_is_refused(tmp_path: Path) -> None:
    program = Program("test-own-run", Path("/run/speechless-test-state"))
    try:
        assert "lies under /run or /var" in program.refused("up", "--nodes", "0")
    finally:
        program.run("reset")
        shutil.rmtree(program.state, ignore_errors=True)
    assert of_instance(program.name, 9999) == []


def test_two_instances_side_by_side_do_not_see_each_other(
    control_plane: Program, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Program("test-own-two", control_plane.state)
    control_plane.done("up", "--nodes", "0")
    try:
        other.done("up", "--nodes", "0")
        assert other.index() != control_plane.index()
        control_plane.kubectl("create", "configmap", "here-only")
        assert "here-only" not in other.kubectl("get", "configmaps", "-o", "name")
        other.done("down")
        assert control_plane.status()["state"] == "running"
        control_plane.kubectl("get", "configmap", "here-only")
    finally:
        other.run("reset")
