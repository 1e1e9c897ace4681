"""`speechless-operator run`: what its flags and its file become, and how a mistake in the file is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from speechless_operator import flags
from speechless_operator.desired.settings import AdministratorFile, Ceilings, PodDefaults, image_names
from speechless_operator.main import main
from speechless_operator.runtime import access, app, configfile


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> list[app.Options]:
    """What the operator would run with; it does not."""
    seen: list[app.Options] = []

    class Recorder:
        def __init__(self, way: object, options: app.Options) -> None:
            seen.append(options)

        async def run(self) -> None:
            return

    monkeypatch.setattr(app, "Operator", Recorder)
    monkeypatch.setattr(access, "load", lambda: None)
    return seen


def test_without_flags(options: list[app.Options]) -> None:
    assert main(["run", "--lease-namespace=here"]) == 0
    (found,) = options
    assert (found.qps, found.lease_name, found.namespaces) == (0, "speechless-operator", [])
    assert (found.settings.pods, found.settings.ceilings) == (PodDefaults(), Ceilings())
    assert found.settings.operator_version == flags.own_version()


def test_every_flag_arrives(options: list[app.Options]) -> None:
    names = image_names()
    assert main([
        "run", "--artifact-store=pvc://a/b", "--allow-code-execution", "--allow-file-uris", "--namespace=x",
        "--namespace=y", "--no-leader-elect", "--lease-name=mine", "--lease-namespace=here", "--identity=me",
        "--listen=127.0.0.1:1", "--workers=3", "--resync-seconds=7", "--progress-via=apiserver",
        "--watch-with=kopf", "--qps=5", "--burst=6",
        "--log-level=error", *(f"--image-{name}=registry.example/{name}" for name in names),
    ]) == 0  # fmt: skip
    (found,) = options
    settings = found.settings
    assert settings.images == {name: f"registry.example/{name}" for name in names}
    assert (settings.artifact_store, settings.allow_code_execution, settings.allow_file_uris) == (
        "pvc://a/b",
        True,
        True,
    )
    assert (found.namespaces, found.leader_elect) == (["x", "y"], False)
    assert (found.lease_name, found.lease_namespace, found.identity) == ("mine", "here", "me")
    assert (found.listen, found.workers, found.resync_seconds) == ("127.0.0.1:1", 3, 7)
    assert (found.progress_by_proxy, found.kopf, found.qps, found.burst) == (True, True, 5, 6)


def test_the_file_that_help_shows_is_understood_whole(tmp_path: Path, options: list[app.Options]) -> None:
    shown = flags.CONFIG.split("\n", 1)[1].rsplit("\nWhat each means", 1)[0]
    file = tmp_path / "config.yaml"
    file.write_text(shown)

    assert main(["run", f"--config={file}"]) == 0

    said: Any = yaml.safe_load(shown)
    assert set(said["stagePods"]) == {field.alias for field in PodDefaults.model_fields.values()}
    assert set(said["ceilings"]) == {field.alias for field in Ceilings.model_fields.values()}
    (found,) = options
    assert found.settings.pods == PodDefaults.model_validate(said["stagePods"])
    assert found.settings.pods.uid is None
    assert found.settings.ceilings == Ceilings.model_validate(said["ceilings"])
    assert found.settings.ceilings.service_accounts == ()


@pytest.mark.parametrize("text", ["", "{}", "stagePods: {}", '{"ceilings": {}}'])
def test_an_empty_file_changes_nothing(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    assert configfile.load(file) == AdministratorFile()


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("stagePod: {}", ["stagePod: no such field; did you mean stagePods?"]),
        ("ceilings: {zzz: 1}", ["ceilings.zzz: no such field"]),
        ("[]", ["must be a mapping: "]),
        ("a: [", ["not YAML: "]),
        (
            "stagePods: {uid: -1, labels: {job-name: x}, env: [{name: 'a b', value: x}]}\n"
            "ceilings: {allowEnv: perhaps}",
            [
                "stagePods.labels: Value error, job-name: set by the operator and by controllers: remove it",
                "stagePods.env.0.name: String should match pattern",
                "stagePods.uid: Input should be greater than or equal to 1",
                "ceilings.allowEnv: Input should be a valid boolean",
            ],
        ),
    ],
)
def test_every_mistake_of_the_file_is_a_line(
    tmp_path: Path,
    text: str,
    lines: list[str],
    capsys: pytest.CaptureFixture[str],
    options: list[app.Options],
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)

    assert main(["run", f"--config={file}"]) == 2

    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == len(lines)
    for line, expected in zip(shown, lines, strict=True):
        assert line.startswith(f"speechless-operator: --config {file}: {expected}")
    assert options == []


def test_a_file_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", f"--config={tmp_path / 'none'}"]) == 2
    assert (
        capsys.readouterr().err
        == f"speechless-operator: --config {tmp_path / 'none'}: No such file or directory\n"
    )
    (tmp_path / "latin").write_bytes(b"\xff")
    assert main(["run", f"--config={tmp_path / 'latin'}"]) == 2
    assert capsys.readouterr().err == f"speechless-operator: --config {tmp_path / 'latin'}: not UTF-8\n"


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["run", "--help"])
    assert exit_.value.code == 0
    shown = capsys.readouterr().out
    for word in ("--config FILE", "--lease-name NAME", "stagePods:", "ceilings:", "--progress-via"):
        assert word in shown
