"""The checkpoint with the least loss on held-out rows becomes the result, whatever stops the run on its way."""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any

import pytest

from speechless.contract import METHODS, FailureReason, Lora, Method, Objective
from speechless.errors import StageError
from speechless.finetune import harness
from speechless.finetune.finetune import main
from speechless.finetune.job import Job
from speechless.finetune.run import train
from tests.library.training import ROWS, SETTINGS, Record, digest, job, request, run, write

pytest_plugins = ("tests.library.model_fixtures",)
pytestmark = pytest.mark.timeout(300)
BEST = SETTINGS.model_copy(
    update={
        "load_best_model_at_end": True,
        "learning_rate": 3e-2,
        "lr_scheduler_type": "constant",
        "max_steps": 8,
    }
)
"""Fast enough that the loss on held-out rows rises again before the last step."""
DROPOUT = Lora(r=8, alpha=16, dropout=0.2)


def best_job(model: Path, folder: Path, method: Method, **more: Any) -> Job:
    return job(
        model,
        folder,
        Objective.SFT,
        method,
        **({"hyperparameters": BEST, "heldout": 4, "eval_steps": 2} | more),
    )


def losses(told: Record) -> dict[int, float]:
    """On held-out rows, by step."""
    return {int(values["step"]): values["eval_loss"] for values in told.values if "eval_loss" in values}


class StopIn(Record):
    """Asks the run to end where a callback asks: from a step on that was told."""

    def __init__(self, folder: Path, callback: str, told: int = 0) -> None:
        super().__init__(folder)
        self._callback, self._told = callback, told

    def stopping(self) -> bool:
        asked = any(frame.name == self._callback for frame in traceback.extract_stack())
        return asked and self.step >= self._told


@pytest.mark.parametrize("method", list(Method))
def test_the_result_is_the_best_step_and_pruning_keeps_it(
    model: Path, tmp_path: Path, method: Method
) -> None:
    settings = BEST if METHODS[method].adapters else BEST.model_copy(update={"learning_rate": 3e-3})
    more: dict[str, Any] = {"lora": DROPOUT, "hyperparameters": settings}
    told, outcome = run(best_job(model, tmp_path, method, every_steps=1, **more))
    found = losses(told)
    assert set(found) == {2, 4, 6, 8}
    best = min(found, key=lambda step: found[step])
    assert best < 7, found  # else this test tells nothing
    numbers = {metric.name: metric.value for metric in outcome.metrics}
    assert (numbers["train/best_step"], numbers["train/steps"]) == (best, 8)
    assert numbers["eval/loss"] == found[best]
    kept = {path.name for path in (tmp_path / "kept").glob("checkpoint-*")}
    assert kept == {f"checkpoint-{step}" for step in (best, 7, 8)}
    # The same weights as a run that ends there.
    short = settings.model_copy(update={"load_best_model_at_end": False, "max_steps": best})
    run(best_job(model, tmp_path / "short", method, **more | {"hyperparameters": short}))
    weights = "model.safetensors" if method is Method.FULL else "adapter_model.safetensors"
    assert digest(tmp_path / "out")[weights] == digest(tmp_path / "short" / "out")[weights]


@pytest.mark.parametrize("stop_at", [1, 2, 4, 5, 7])
def test_a_run_that_was_stopped_ends_with_the_same_result(model: Path, tmp_path: Path, stop_at: int) -> None:
    """Also where it is stopped at a step whose evaluation it has no time for, with chance in every step."""
    _, wanted = run(best_job(model, tmp_path / "straight", Method.LORA, lora=DROPOUT))
    first = best_job(model, tmp_path / "stopped", Method.LORA, lora=DROPOUT)
    with pytest.raises(StageError) as stopped:
        harness.train(first, StopIn(first.checkpoints, "on_step_end", stop_at - 1))
    assert stopped.value.reason is FailureReason.INTERRUPTED
    told, outcome = run(best_job(model, tmp_path / "stopped", Method.LORA, lora=DROPOUT))
    assert outcome.resumed_from == stop_at
    if stop_at % 2 == 0:
        assert stop_at in losses(told)
    assert outcome.metrics == wanted.metrics
    assert digest(tmp_path / "straight" / "out") == digest(tmp_path / "stopped" / "out")


@pytest.mark.parametrize("step", [4, 8])
def test_a_run_that_is_stopped_twice_in_one_evaluation_ends_with_the_same_result(
    model: Path, tmp_path: Path, step: int
) -> None:
    run(best_job(model, tmp_path / "straight", Method.LORA, lora=DROPOUT))
    for told in (step, 0):
        wanted = best_job(model, tmp_path / "stopped", Method.LORA, lora=DROPOUT)
        with pytest.raises(StageError, match=f"stopped by a signal at step {step}"):
            harness.train(wanted, StopIn(wanted.checkpoints, "on_prediction_step", told))
    _, outcome = run(best_job(model, tmp_path / "stopped", Method.LORA, lora=DROPOUT))
    assert outcome.resumed_from == step
    assert digest(tmp_path / "straight" / "out") == digest(tmp_path / "stopped" / "out")


def test_a_run_that_ends_early_at_an_evaluation_it_had_no_time_for(model: Path, tmp_path: Path) -> None:
    early = BEST.model_copy(update={"early_stopping_patience": 1, "max_steps": 40})
    told, wanted = run(best_job(model, tmp_path / "straight", Method.LORA, hyperparameters=early))
    last = wanted.steps
    assert last < 40
    assert max(losses(told)) == last
    stopped = best_job(model, tmp_path / "stopped", Method.LORA, hyperparameters=early)
    with pytest.raises(StageError, match=f"at step {last}"):
        harness.train(stopped, StopIn(stopped.checkpoints, "on_prediction_step", last))
    _, outcome = run(best_job(model, tmp_path / "stopped", Method.LORA, hyperparameters=early))
    assert (outcome.steps, outcome.resumed_from) == (last, last)
    assert outcome.metrics == wanted.metrics
    assert digest(tmp_path / "straight" / "out") == digest(tmp_path / "stopped" / "out")


def test_the_last_step_is_measured_too(model: Path, tmp_path: Path) -> None:
    told, outcome = run(best_job(model, tmp_path, Method.LORA, eval_steps=100))
    assert set(losses(told)) == {8}
    assert {"train/best_step", "eval/loss"} <= {metric.name for metric in outcome.metrics}


def test_a_best_checkpoint_that_is_gone_is_told(model: Path, tmp_path: Path) -> None:
    """As users have it: rows and training in processes of their own."""
    from speechless.data import survey

    file = write(ROWS[Objective.SFT], tmp_path / "rows.jsonl")
    more = {
        "hyperparameters": BEST,
        "eval_steps": 2,
        "lora": DROPOUT,
        "data": survey(file, seed=0, eval_rows=4),
    }
    outcome = train(
        request(model, tmp_path, Objective.SFT, Method.LORA, **more), lambda *_: None, lambda: False
    )
    best = next(metric.value for metric in outcome.metrics if metric.name == "train/best_step")
    assert best < 8
    (tmp_path / "kept" / f"checkpoint-{best:g}" / "adapter_model.safetensors").unlink()
    again = request(model, tmp_path, Objective.SFT, Method.LORA, **more, out=tmp_path / "again")
    with pytest.raises(StageError, match=f"checkpoint-{best:g} of this run is gone") as gone:
        train(again, lambda *_: None, lambda: False)
    assert gone.value.reason is FailureReason.INPUT_NOT_FOUND


def test_the_card_and_the_results_say_which_step_it_was(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(ROWS[Objective.SFT], tmp_path / "rows.jsonl")
    words = f"""--model_name_or_path {model} --dataset rows.jsonl --output_dir out --max_steps 4 --lora_r 4
        --eval_dataset_size 4 --eval_steps 1 --load_best_model_at_end True --metric_for_best_model eval_loss""".split()
    assert main([*words, "--gradient_accumulation_steps", "1", "--learning_rate", "0.05"]) == 0
    numbers = json.loads((tmp_path / "out" / "train_results.json").read_text())
    step = numbers["train/best_step"]
    logged = [json.loads(line) for line in (tmp_path / "out" / "trainer_log.jsonl").read_text().splitlines()]
    assert (
        min((line["eval_loss"], line["current_steps"]) for line in logged if "eval_loss" in line)[1] == step
    )
    card = (tmp_path / "out" / "latest" / "adapter_model" / "README.md").read_text()
    assert f"| best step | {step:g} |" in card
