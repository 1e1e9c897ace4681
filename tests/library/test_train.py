"""Each objective with each method on a small model with random weights: it must learn, and go on as if undisturbed."""

from __future__ import annotations

import json
import traceback
from pathlib import Path

import pytest

from speechless.contract import FailureReason, Method, Objective
from speechless.data.__main__ import main as check
from speechless.errors import StageError
from speechless.finetune import harness
from speechless.finetune.finetune import main as train
from speechless.finetune.recipes import dpo
from tests.docs.pages import blocks
from tests.library.training import ROWS, SETTINGS, Record, digest, job, run

pytest_plugins = ("tests.library.model_fixtures",)
METHODS = [(objective, method) for objective in ROWS for method in Method]


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


@pytest.mark.parametrize("method", list(Method))
def test_the_last_step_is_kept_and_the_result_is_made_of_it_again(
    model: Path, tmp_path: Path, method: Method
) -> None:
    """A run may be ended while its result is merged or published."""
    first, outcome = run(job(model, tmp_path, Objective.SFT, method))
    assert first.kept == [SETTINGS.max_steps]
    (tmp_path / "out").rename(tmp_path / "before")
    again, same = run(job(model, tmp_path, Objective.SFT, method))
    assert (again.kept, again.values) == ([], [])
    assert digest(tmp_path / "before") == digest(tmp_path / "out")
    assert same.resumed_from == same.steps == SETTINGS.max_steps
    assert {metric.name: metric.value for metric in same.metrics} == {
        metric.name: metric.value for metric in outcome.metrics
    }


class StopInEvaluation(Record):
    """Asks the run to end once it measures the loss on held-out rows."""

    def stopping(self) -> bool:
        frames = traceback.extract_stack()
        return self.armed and any(frame.name == "on_prediction_step" for frame in frames)

    armed = True


def test_a_run_that_is_stopped_while_it_is_evaluated_saves_first(model: Path, tmp_path: Path) -> None:
    settings = {"heldout": 4, "eval_steps": 3}
    run(job(model, tmp_path / "straight", Objective.SFT, Method.LORA, **settings))
    wanted = job(model, tmp_path / "stopped", Objective.SFT, Method.LORA, **settings)
    told = StopInEvaluation(wanted.checkpoints)
    with pytest.raises(StageError, match="stopped by a signal at step 3 of 12"):
        harness.train(wanted, told)
    assert told.kept == [3]
    _, outcome = run(job(model, tmp_path / "stopped", Objective.SFT, Method.LORA, **settings))
    assert outcome.resumed_from == 3
    assert digest(tmp_path / "straight" / "out") == digest(tmp_path / "stopped" / "out")
