"""The parts of hack/cluster that need neither root nor a cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cluster import binaries, images, instance, lifecycle, preflight, process
from cluster.__main__ import main
from cluster.components import controller_manager
from cluster.errors import ClusterError


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders of this test's own."""
    monkeypatch.setenv("SPEECHLESS_CLUSTER_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("SPEECHLESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "state"


@pytest.mark.parametrize("name", ["a", "test-api", "x9", "a" * 20])
def test_names_that_fit_interfaces_and_folders_are_taken(name: str) -> None:
    assert instance.check_name(name) == name


@pytest.mark.parametrize("name", ["", "A", "9a", "a-", "a_b", "../x", "a/b", "a" * 21, "a b"])
def test_other_names_are_refused_with_an_example(name: str) -> None:
    with pytest.raises(ClusterError) as refused:
        instance.check_name(name)
    assert "test-api" in refused.value.hint


def test_every_instance_has_addresses_and_links_of_its_own() -> None:
    made = [instance.Instance(f"i{n}", n, 1) for n in range(256)]
    assert len({i.address for i in made} | {i.host_address for i in made}) == 512
    assert all(len(end) <= 15 for i in made for end in i.veth)
    assert made[255].address == "10.213.3.254"


def test_a_damaged_record_names_the_file_and_the_way_out(state: Path) -> None:
    (state / "x").mkdir(parents=True)
    (state / "x" / "instance.json").write_text('{"index": ')
    with pytest.raises(ClusterError, match=r"instance\.json") as refused:
        instance.load("x")
    assert "reset x" in refused.value.hint


def test_a_lock_names_its_holder(state: Path) -> None:
    with (
        instance.locked("x", "cluster up"),
        pytest.raises(ClusterError, match=rf"cluster up x.*pid {os.getpid()}"),
        instance.locked("x", "cluster down"),
    ):
        pass
    with instance.locked("x", "cluster down"):
        assert (state / ".x.lock").exists()


def test_a_pid_with_another_start_time_is_not_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(instance.paths, "runtime", lambda: tmp_path)
    one = instance.Instance("x", 0, 0)
    (one.run_dir / "pid").mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        record = {"pid": child.pid, "start": int(fields[19]), "command": ""}
        (one.run_dir / "pid" / "etcd").write_text(json.dumps(record))
        assert process.pid(one, "etcd") == child.pid
        (one.run_dir / "pid" / "etcd").write_text(json.dumps({**record, "start": record["start"] - 1}))
        assert process.pid(one, "etcd") is None
        process.stop(one, "etcd")
        assert child.poll() is None
        child.communicate(b"\n")
    (one.run_dir / "pid" / "etcd").write_text(json.dumps(record))
    assert process.pid(one, "etcd") is None


def test_a_cached_binary_that_changed_is_made_anew(tmp_path: Path) -> None:
    made: list[str] = []
    said: list[str] = []

    def make(target: Path) -> None:
        made.append(target.name)
        (target / "program").write_text("good")

    folder = tmp_path / "tool-1"
    binaries._checked(folder, make, said.append)
    binaries._checked(folder, make, said.append)
    assert len(made) == 1, "a sound cache is used"
    (folder / "program").write_text("evil")
    binaries._checked(folder, make, said.append)
    assert (folder / "program").read_text() == "good"
    (folder / "program").unlink()
    binaries._checked(folder, make, said.append)
    (folder / "manifest.json").write_text("{")
    binaries._checked(folder, make, said.append)
    assert len(made) == 4
    assert "program does not match" in said[0]
    assert [p.name for p in tmp_path.iterdir()] == ["tool-1"], "no draft is left"


def test_a_build_that_fails_leaves_no_half_made_folder(tmp_path: Path) -> None:
    def fail(target: Path) -> None:
        (target / "half").write_text("x")
        raise ClusterError("no")

    with pytest.raises(ClusterError):
        binaries._checked(tmp_path / "tool-1", fail, print)
    assert list(tmp_path.iterdir()) == []


def test_a_changed_source_is_another_folder_of_the_cache(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = binaries.PAUSE
    before = module.folder
    copy = state / "go" / "pause"
    copy.mkdir(parents=True)
    for file in module.source.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(binaries, "SOURCES", state / "go")
    assert module.folder == before
    (copy / "main.go").write_text("package main")
    assert module.folder != before


def test_programs_beside_a_cluster_are_built_only_when_they_are_asked_for(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        lifecycle, "prepare", lambda say, extras: asked.append(",".join(each.name for each in extras))
    )

    assert main(["prepare"]) == 0
    assert main(["prepare", "--with", "kwok,kueue"]) == 0

    assert asked == ["", "kwok,kueue"]
    assert not set(binaries.EXTRAS.values()) & set(binaries.MODULES)
    told = dict(line.split("=") for line in capsys.readouterr().out.splitlines())
    assert told == {name: str(binaries.EXTRAS[name].folder) for name in ("kwok", "kueue")}


def test_a_program_that_is_not_here_is_refused_with_those_that_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["prepare", "--with", "kwok,nosuch"])
    assert "there is no 'nosuch'; there are: kwok, kueue, monitoring, registry" in capsys.readouterr().err


def test_what_is_kept_of_a_source_is_part_of_the_key() -> None:
    assert replace(binaries.KUEUE, keep=None).folder != binaries.KUEUE.folder


def test_the_controllers_rate_is_kept_with_an_instance_and_is_upstreams_by_default(state: Path) -> None:
    fast = instance.Instance("fast", 3, 0, controller_qps=400)
    fast.save()
    assert instance.load("fast") == fast
    record = fast.dir / "instance.json"
    record.write_text('{"index": 3, "nodes": 0}')  # as it was written before there was a choice
    found = instance.load("fast")
    assert found is not None
    assert found.controller_qps == instance.CONTROLLER_QPS == 20
    argv = controller_manager.component(found, binaries.located()).argv
    assert not [word for word in argv if word.startswith("--kube-api")]
    argv = controller_manager.component(fast, binaries.located()).argv
    assert argv[-2:] == ["--kube-api-qps=400", "--kube-api-burst=800"]


def test_the_machines_package_index_reaches_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    for key in ("INDEX_URL", "EXTRA_INDEX_URL", "TRUSTED_HOST"):
        monkeypatch.delenv(f"PIP_{key}", raising=False)
    (tmp_path / ".config/pip").mkdir(parents=True)
    (tmp_path / ".config/pip/pip.conf").write_text(
        "[global]\nindex-url = https://one.example/\ntimeout = 9\n"
    )
    assert images.package_index()["index-url"] == "https://one.example/"
    assert "timeout" not in images.package_index()
    monkeypatch.setenv("PIP_INDEX_URL", "https://two.example/")
    assert images.package_index()["index-url"] == "https://two.example/"


def test_too_little_disk_names_the_numbers_and_the_variable(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="GiB are free") as refused:
        preflight.disk(tmp_path / "not" / "there", 1 << 60)
    assert "SPEECHLESS_CLUSTER_STATE" in refused.value.hint


def test_the_disk_of_an_instance_that_runs_is_counted(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"x" * 1000)
    (tmp_path / "link").symlink_to("kept")
    churn = "import os\nwhile True: os.makedirs('a/b'); open('a/b/c', 'w'); os.remove('a/b/c'); os.removedirs('a/b')"
    with subprocess.Popen([sys.executable, "-c", churn], cwd=tmp_path) as writer:
        try:
            counted = {lifecycle.disk_used(tmp_path) for _ in range(2000)}
        finally:
            writer.kill()
    assert counted == {1000}


@pytest.mark.parametrize("changed", ["package.json", "package-lock.json"])
def test_a_changed_lock_is_another_folder_of_the_cache(
    state: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    program = binaries.AZURITE
    before = program.folder
    copy = state / "node" / program.name
    copy.mkdir(parents=True)
    for file in program.source.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(binaries, "NODE", state / "node")
    assert program.folder == before
    (copy / changed).write_text("{}")
    assert program.folder != before


def test_what_comes_from_npm_is_pinned_by_hash_and_has_no_address() -> None:
    for program in (each for each in binaries.EXTRAS.values() if isinstance(each, binaries.Node)):
        lock = json.loads((program.source / "package-lock.json").read_text())
        packages = {name: told for name, told in lock["packages"].items() if name}
        assert packages[f"node_modules/{program.name}"]["version"] == program.version
        assert [name for name, told in packages.items() if not told.get("integrity")] == []
        assert [name for name, told in packages.items() if "resolved" in told] == []
