"""The files that a run leaves, by their old names."""

import json
from pathlib import Path

from speechless.contract import Method, Metric
from speechless.finetune.job import Outcome
from speechless.finetune.outputs import Outputs

OUTCOME = Outcome(steps=12, metrics=(Metric(name="train/loss", value=0.5),), resumed_from=0, settings={})


def outputs(folder: Path) -> Outputs:
    made = Outputs(folder)
    made.prepare(restart=False)
    made.partial.mkdir()
    (made.partial / "weights").write_text("w")
    return made


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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["completed", "train_results.json", "weights"]


def test_restart_removes_the_runs_own_files_only(tmp_path: Path) -> None:
    made = outputs(tmp_path)
    made.step(0, 12, {})
    made.step(1, 12, {"loss": 1.0})
    made.finish(OUTCOME, Method.LORA)
    (tmp_path / "notes.txt").write_text("mine")
    made.prepare(restart=True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


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
