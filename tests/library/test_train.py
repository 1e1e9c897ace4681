"""Each objective with each method on a small model with random weights: it must learn, and go on as if undisturbed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from speechless.contract import FailureReason, Hyperparameters, Lora, Method, Objective
from speechless.data import survey
from speechless.data.__main__ import main as check
from speechless.errors import StageError
from speechless.finetune import harness
from speechless.finetune.finetune import main as train
from speechless.finetune.job import Job
from speechless.finetune.recipes import dpo
from speechless.store import FolderCheckpoints
from tests.docs.pages import blocks

pytest_plugins = ("tests.library.model_fixtures",)
SETTINGS = Hyperparameters(learning_rate=5e-3, max_steps=12, max_length=64, per_device_train_batch_size=4)
ROWS: dict[Objective, list[dict[str, Any]]] = {
    Objective.SFT: [{"prompt": f"sum of {word}", "completion": f" return {word} (2)"} for word in "abcdefgh"],
    Objective.DPO: [
        {"prompt": f"sum of {word}", "chosen": f" return {word} (2)", "rejected": f" if not {word}"}
        for word in "abcdefgh"
    ],
}
METHODS = [(objective, method) for objective in ROWS for method in Method]


def job(model: Path, folder: Path, objective: Objective, method: Method, **more: Any) -> Job:
    """A run in a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS[objective]))
    (folder / "scratch").mkdir(exist_ok=True)
    settings = {
        "model": model, "data": survey(rows, seed=0), "objective": objective, "method": method,
        "hyperparameters": SETTINGS, "lora": Lora(r=8, alpha=16), "out": folder / "out",
        "checkpoints": FolderCheckpoints(folder / "kept"), "scratch": folder / "scratch", "base_name": "base",
    }  # fmt: skip
    (folder / "kept").mkdir(exist_ok=True)
    return Job(**(settings | more))


class Record:
    """What a run tells."""

    def __init__(self, stop_at: int = 0) -> None:
        self.values: list[dict[str, float]] = []
        self._step, self._stop_at = 0, stop_at

    def progress(self, step: int, total: int, values: Mapping[str, float]) -> None:
        self._step = step
        if values:
            self.values.append({"step": step, **values})

    def stopping(self) -> bool:
        return bool(self._stop_at) and self._step >= self._stop_at - 1

    def losses(self) -> list[float]:
        return [values["loss"] for values in self.values if "loss" in values]


def run(wanted: Job, stop_at: int = 0) -> tuple[Record, Any]:
    told = Record(stop_at)
    return told, harness.train(wanted, told.progress, told.stopping)


def digest(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize(
    ("prompt", "chosen", "rejected", "kept"),
    [
        ([1, 2], [3, 4, 5], [6], ([1, 2], [3, 4], [6])),
        ([1, 2], [3, 4, 5], [3, 4, 6], None),
        ([1, 2], [], [6], None),
        ([1, 2, 3, 4], [5], [6], None),
        ([], [5], [6], None),
    ],
)
def test_a_pair_within_the_longest_length_teaches_something_or_is_left_out(
    prompt: list[int], chosen: list[int], rejected: list[int], kept: tuple[list[int], ...] | None
) -> None:
    made = dpo.cut(dict(zip(dpo.COLUMNS, (prompt, chosen, rejected), strict=True)), 4)
    assert made == (dict(zip(dpo.COLUMNS, kept, strict=True)) if kept else None)


def test_the_commands_of_the_page_about_preferences(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """docs/howto/preference.md, with its row and fewer steps; messages need the template of the model."""
    (row,) = [
        block.text
        for block in blocks()
        if block.place.startswith("docs/howto/preference.md") and block.language == "json"
    ]
    monkeypatch.chdir(tmp_path)
    Path("pairs.jsonl").write_text(row.strip() + "\n")
    assert check(["check", "pairs.jsonl"]) == 0
    shown = capsys.readouterr().out
    assert "better: assistant: [[return n % 2 == 0]]" in shown
    assert "worse: assistant: [[return n / 2 == 0]]" in shown
    assert check(["check", "pairs.jsonl", "--model", str(model)]) == 0
    assert "cut         0 rows" in capsys.readouterr().out
    argv = ["--model_name_or_path", str(model), "--dataset", "pairs.jsonl", "--objective", "dpo"]
    assert train([*argv, "--output_dir", "preferred", "--max_steps", "2", "--eval_dataset_size", "0"]) == 0
    numbers = json.loads(Path("preferred/train_results.json").read_text())
    assert {"train/reward_accuracy", "train/reward_margin"} <= set(numbers)


@pytest.mark.parametrize(("objective", "method"), METHODS)
def test_it_learns(model: Path, tmp_path: Path, objective: Objective, method: Method) -> None:
    told, outcome = run(job(model, tmp_path, objective, method))
    losses = told.losses()
    assert losses[-1] < 0.7 * losses[0]
    assert outcome.steps == SETTINGS.max_steps
    assert {"train/loss", "train/tokens", "train/parameters"} <= {metric.name for metric in outcome.metrics}


@pytest.mark.parametrize(("objective", "method"), METHODS)
def test_a_run_that_was_stopped_ends_with_the_bytes_of_one_that_was_not(
    model: Path, tmp_path: Path, objective: Objective, method: Method
) -> None:
    run(job(model, tmp_path / "straight", objective, method))
    with pytest.raises(StageError) as stopped:
        run(job(model, tmp_path / "stopped", objective, method), stop_at=5)
    assert stopped.value.reason is FailureReason.INTERRUPTED
    _, outcome = run(job(model, tmp_path / "stopped", objective, method))
    assert 0 < outcome.resumed_from < SETTINGS.max_steps  # type: ignore[operator]
    assert digest(tmp_path / "straight" / "out") == digest(tmp_path / "stopped" / "out")
