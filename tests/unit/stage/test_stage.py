"""A whole stage as its own process, as a pod runs it; `fetch`, because it needs no model."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from speechless.contract import ModelInfo, StageResult
from tests.support.model_files import AWQ, write_model


def run(
    spec: object, tmp_path: Path, *more: str, stage: str = "fetch", env: dict[str, str] | None = None
) -> tuple[int, StageResult, str]:
    """Run a stage with a spec; its exit status, its termination message and its log."""
    file, message = tmp_path / "stage.json", tmp_path / "termination-log"
    file.write_text(spec if isinstance(spec, str) else json.dumps(spec))
    done = subprocess.run(
        [sys.executable, "-m", "speechless.stage", stage, "--spec", file, "--listen", "127.0.0.1:0", *more],
        env=os.environ | {"SPEECHLESS_TERMINATION_LOG": str(message)} | (env or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, StageResult.model_validate_json(message.read_text()), done.stderr


@pytest.fixture
def spec(tmp_path: Path) -> dict[str, Any]:
    """Fetch a folder of one file into the store."""
    (tmp_path / "claim" / "rows").mkdir(parents=True)
    (tmp_path / "claim" / "rows" / "train.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    return {
        "stage": "fetch",
        "run": {"namespace": "demo", "name": "rows", "uid": "0123456789abcdef"},
        "mounts": {"claim": str(tmp_path / "claim")},
        "workDir": str(tmp_path / "scratch"),
        "output": "pvc://claim/out/rows",
        "source": {"uri": "pvc://claim/rows"},
    }


def test_a_stage_publishes_and_reports(spec: dict[str, Any], tmp_path: Path) -> None:
    status, result, log = run(spec, tmp_path)
    assert status == 0, log
    assert result.artifact
    assert result.artifact.uri == "pvc://claim/out/rows"
    assert (result.outcome, result.reused, result.inputs[0].name) == ("Succeeded", False, "source")
    assert result.versions["speechless"]
    manifest = json.loads((tmp_path / "claim" / "out" / "rows" / "speechless.json").read_text())
    assert manifest["createdBy"] == "fetch demo/rows 01234567"
    assert manifest["inputs"][0]["digest"] == result.artifact.digest == manifest["digest"]
    assert manifest["parameters"]["source"]["uri"] == "pvc://claim/rows"
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_retry_finds_what_is_published(spec: dict[str, Any], tmp_path: Path) -> None:
    first = run(spec, tmp_path)[1]
    (tmp_path / "claim" / "rows" / "train.jsonl").unlink()
    status, second, log = run(spec | {"run": {"name": "another attempt"}}, tmp_path)
    assert status == 0, log
    assert second.reused
    assert second.artifact == first.artifact
    assert second.inputs == first.inputs


def test_an_output_of_other_settings_is_no_reuse(spec: dict[str, Any], tmp_path: Path) -> None:
    run(spec, tmp_path)
    status, result, _ = run(spec | {"source": {"uri": "pvc://claim/rows/train.jsonl"}}, tmp_path)
    assert status == 64
    assert result.failure
    assert "source.uri differs" in result.failure.message


def test_an_altered_output_is_no_reuse(spec: dict[str, Any], tmp_path: Path) -> None:
    run(spec, tmp_path)
    (tmp_path / "claim" / "out" / "rows" / "train.jsonl").write_text("x")
    status, result, _ = run(spec, tmp_path)
    assert (status, result.failure and result.failure.reason) == (65, "DigestMismatch")


def test_an_altered_input_is_refused_by_its_digest(spec: dict[str, Any], tmp_path: Path) -> None:
    digest = run(spec, tmp_path)[1].artifact
    assert digest
    again = spec | {
        "source": {"uri": "pvc://claim/out/rows", "digest": digest.digest},
        "output": "pvc://claim/two",
    }
    assert run(again, tmp_path)[0] == 0
    (tmp_path / "claim" / "out" / "rows" / "train.jsonl").write_text('{"prompt": "a", "completion": "c"}\n')
    status, result, _ = run(again | {"output": "pvc://claim/three"}, tmp_path)
    assert status == 65
    assert result.failure
    assert result.failure.reason == "DigestMismatch"
    assert "train.jsonl: sha256" in result.failure.message
    assert not (tmp_path / "claim" / "three").exists()


@pytest.mark.parametrize(
    ("change", "status", "reason", "message"),
    [
        ({"source": {"uri": "pvc://claim/nothing"}}, 66, "InputNotFound", "pvc://claim/nothing"),
        ({"source": {"uri": "pvc://other/x"}}, 64, "InvalidSpec", "claim 'other'"),
        ({"source": {}}, 64, "InvalidSpec", "fetch.source.uri: Field required"),
        ({"stage": "finetune"}, 64, "InvalidSpec", "finetune.model: Field required"),
        ({"workDir": "/proc/none"}, 64, "InvalidSpec", "workDir: /proc/none"),
    ],
)
def test_a_failure_has_a_reason_and_its_exit_status(
    spec: dict[str, Any], tmp_path: Path, change: dict[str, Any], status: int, reason: str, message: str
) -> None:
    found, result, log = run(spec | change, tmp_path)
    assert found == status, log
    assert result.failure
    assert result.failure.reason == reason
    assert message in result.failure.message
    assert result.failure.hint
    assert "Traceback" not in log


def test_a_field_that_this_version_does_not_know_is_told_and_ignored(
    spec: dict[str, Any], tmp_path: Path
) -> None:
    source = spec["source"] | {"mirror": "pvc://claim/two"}
    status, _, log = run(spec | {"surprise": 1, "source": source}, tmp_path)
    assert status == 0, log
    assert "unknown field surprise: this version does not know it" in log
    assert "unknown field source.mirror: " in log


def test_a_spec_that_is_no_json_is_invalid(tmp_path: Path) -> None:
    status, result, _ = run("{", tmp_path)
    assert (status, result.failure and result.failure.reason) == (64, "InvalidSpec")


def test_a_spec_for_another_stage_is_invalid(spec: dict[str, Any], tmp_path: Path) -> None:
    status, result, _ = run(spec, tmp_path, stage="quantize")
    assert status == 64
    assert result.failure
    assert "the spec is for fetch, the command is quantize" in result.failure.message


def test_the_result_can_go_to_a_file_too(spec: dict[str, Any], tmp_path: Path) -> None:
    _, result, _ = run(spec, tmp_path, "--result", str(tmp_path / "result.json"))
    assert StageResult.model_validate_json((tmp_path / "result.json").read_text()) == result


def test_a_termination_log_that_cannot_be_written_does_not_hide_the_result(
    spec: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "stage.json"
    file.write_text(json.dumps(spec))
    done = subprocess.run(
        [sys.executable, "-m", "speechless.stage", "fetch", "--spec", file, "--listen", "127.0.0.1:0"],
        env=os.environ | {"SPEECHLESS_TERMINATION_LOG": str(tmp_path / "no" / "such")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0
    assert StageResult.model_validate_json(done.stdout).artifact


@pytest.mark.parametrize(
    ("stage", "more"),
    [
        ("finetune", {"dataset": {"uri": "pvc://claim/rows"}}),
        ("quantize", {}),
        ("evaluate", {"suites": [{"name": "p", "type": "Perplexity", "data": {"uri": "pvc://claim/rows"}}]}),
    ],
)
def test_a_quantized_model_is_refused_before_anything_is_loaded(
    spec: dict[str, Any], tmp_path: Path, stage: str, more: dict[str, Any]
) -> None:
    write_model(tmp_path / "claim" / "awq", quantization_config=dict(AWQ))
    told = {key: spec[key] for key in ("mounts", "workDir", "output")} | {"stage": stage} | more
    status, result, log = run(told | {"model": {"uri": "pvc://claim/awq"}}, tmp_path, stage=stage)
    assert status == 65, log
    assert result.failure
    assert result.failure.reason == "ModelInvalid"
    assert result.failure.message.startswith(
        "pvc://claim/awq: its weights are quantized already (awq, 4 bits), "
    )
    assert "take the model that it was made from" in result.failure.hint


def test_what_is_fetched_says_what_model_it_is(spec: dict[str, Any], tmp_path: Path) -> None:
    write_model(tmp_path / "claim" / "model", card="---\nlicense: mit\n---\n")
    status, result, log = run(spec | {"source": {"uri": "pvc://claim/model"}}, tmp_path)
    assert status == 0, log
    manifest = json.loads((tmp_path / "claim" / "out" / "rows" / "speechless.json").read_text())
    assert manifest["model"]["license"] == "mit"
    assert result.artifact
    assert result.artifact.model == ModelInfo(architecture="LlamaForCausalLM", parameters=32832)
    again = {"source": {"uri": "pvc://claim/out/rows"}, "output": "pvc://claim/two"}
    assert run(spec | again, tmp_path)[0] == 0
    second = json.loads((tmp_path / "claim" / "two" / "speechless.json").read_text())
    assert (second["model"], second["digest"]) == (manifest["model"], manifest["digest"])


def test_a_broken_model_is_fetched_as_it_is(spec: dict[str, Any], tmp_path: Path) -> None:
    (write_model(tmp_path / "claim" / "model") / "config.json").write_text("?")
    status, result, log = run(spec | {"source": {"uri": "pvc://claim/model"}}, tmp_path)
    assert status == 0, log
    assert "nothing is known of the model: model/config.json: no JSON" in log
    assert result.artifact
    assert result.artifact.model is None


def test_strings_reach_the_result_unchanged(spec: dict[str, Any], tmp_path: Path) -> None:
    name = "$(touch x); `id` && \"quoted\" 'ü'"
    (tmp_path / "claim" / name).mkdir()
    (tmp_path / "claim" / name / "a.txt").write_text("a")
    status, result, log = run(spec | {"source": {"uri": f"pvc://claim/{name}"}}, tmp_path)
    assert status == 0, log
    assert result.inputs[0].uri == f"pvc://claim/{name}"


def test_an_unknown_flag_names_the_nearest() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "speechless.stage", "fetch", "--spec", "x", "--listne", ":1"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "unknown flag --listne; did you mean --listen?" in done.stderr
