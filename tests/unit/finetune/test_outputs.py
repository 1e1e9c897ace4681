"""The files that a run leaves, by their old names; and what it does not touch."""

import json
from pathlib import Path

import pytest
from pydantic import JsonValue

from speechless.contract import Method, Metric
from speechless.errors import StageError
from speechless.finetune.job import Outcome
from speechless.finetune.outputs import Outputs
from speechless.store import FolderCheckpoints

OUTCOME = Outcome(steps=12, metrics=(Metric(name="train/loss", value=0.5),), resumed_from=0, settings={})
IDENTITY: dict[str, JsonValue] = {"model": "abc", "hyperparameters": {"seed": 1, "max_steps": 12}}


def outputs(folder: Path) -> Outputs:
    made = Outputs(folder)
    with made.held():
        made.begin(IDENTITY, restart=False)
    made.partial.mkdir()
    (made.partial / "weights").write_text("w")
    return made


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def test_an_adapter_is_in_the_last_checkpoint_and_latest_means_it(tmp_path: Path) -> None:
    made = outputs(tmp_path / "outputs")
    assert not made.completed
    assert made.finish(OUTCOME, Method.LORA) == tmp_path / "outputs" / "checkpoint-12" / "adapter_model"
    assert (tmp_path / "outputs" / "latest" / "adapter_model" / "weights").read_text() == "w"
    assert made.completed
    assert json.loads((tmp_path / "outputs" / "train_results.json").read_text()) == {"train/loss": 0.5}
    (tmp_path / "outputs").rename(tmp_path / "moved")
    assert (tmp_path / "moved" / "latest" / "adapter_model" / "weights").is_file()


def test_a_whole_model_is_in_the_folder_itself(tmp_path: Path) -> None:
    made = outputs(tmp_path)
    assert made.finish(OUTCOME, Method.FULL) == tmp_path
    assert names(tmp_path) == ["completed", "metrics.json", "run.json", "train_results.json", "weights"]


@pytest.mark.parametrize("method", list(Method))
def test_restart_removes_the_runs_own_files_only(tmp_path: Path, method: Method) -> None:
    made = outputs(tmp_path)
    made.step(0, 12, {})
    made.step(1, 12, {"loss": 1.0})
    made.finish(OUTCOME, method)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "checkpoint-7").mkdir()
    (tmp_path / "checkpoint-7-good").mkdir()
    (tmp_path / "checkpoint-7-good" / "weights").write_text("kept by somebody")
    made.begin(IDENTITY, restart=True)
    assert names(tmp_path) == ["checkpoint-7-good", "notes.txt", "run.json"]


def test_what_was_measured_of_the_rows_held_out_has_a_file_of_its_own(tmp_path: Path) -> None:
    made = outputs(tmp_path)
    (made.partial / "predictions.jsonl").write_text("{}\n")
    found = (*OUTCOME.metrics, Metric(name="eval/loss", value=0.75))
    made.finish(OUTCOME.model_copy(update={"metrics": found}), Method.LORA)
    assert json.loads((tmp_path / "eval_results.json").read_text()) == {"eval/loss": 0.75}
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"train/loss": 0.5, "eval/loss": 0.75}
    assert (tmp_path / "predictions.jsonl").is_file()
    made.begin(IDENTITY, restart=True)
    assert names(tmp_path) == ["run.json"]


def test_what_tells_a_run_from_the_one_that_was_here_is_named(tmp_path: Path) -> None:
    assert Outputs(tmp_path).difference(IDENTITY) == ""
    made = outputs(tmp_path)
    assert made.difference(IDENTITY) == ""
    other = {"model": "xyz", "hyperparameters": {"seed": 1, "max_steps": 13}}
    assert made.difference(other) == "hyperparameters.max_steps, model"
    (tmp_path / "run.json").write_text("[")
    assert made.difference(IDENTITY) == "run.json cannot be read"


def test_a_folder_with_checkpoints_of_another_program_is_refused(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-500" / "adapter_model").mkdir(parents=True)
    made = Outputs(tmp_path)
    with pytest.raises(StageError, match="checkpoint-500 was not written by this program") as refused:
        made.refuse_foreign()
    assert refused.value.hint == "choose another --output_dir; nothing was changed"
    FolderCheckpoints(tmp_path).save(500, "me")
    made.refuse_foreign()


def test_a_checkpoint_that_was_torn_is_the_runs_own(tmp_path: Path) -> None:
    made = outputs(tmp_path)
    (tmp_path / "checkpoint-3").mkdir()
    made.refuse_foreign()


def test_what_an_older_version_completed_is_completed(tmp_path: Path) -> None:
    made = outputs(tmp_path)
    made.finish(OUTCOME, Method.LORA)
    assert not made.completed_before
    (tmp_path / "run.json").unlink()
    (tmp_path / "completed").write_text("12\n")
    assert made.completed_before
    assert made.summary(trained=False).steps == 12
    made.refuse_foreign()


def test_a_folder_that_another_run_uses_is_refused(tmp_path: Path) -> None:
    one, other = Outputs(tmp_path), Outputs(tmp_path)
    with one.held(), pytest.raises(StageError, match="is used by another run"), other.held():
        pass
    with other.held():
        pass


def test_a_line_a_step(tmp_path: Path) -> None:
    made = outputs(tmp_path)
    made.step(10, 20, {})
    made.step(11, 20, {"loss": 1.5, "learning_rate": 1e-4, "epoch": 0.5, "grad_norm": 3.0})
    (line,) = [json.loads(text) for text in (tmp_path / "trainer_log.jsonl").read_text().splitlines()]
    assert {name: line[name] for name in ("current_steps", "total_steps", "loss", "percentage")} == {
        "current_steps": 11,
        "total_steps": 20,
        "loss": 1.5,
        "percentage": 55.0,
    }
    assert set(line) >= {"learning_rate", "epoch", "elapsed_time", "remaining_time"}
