"""Each objective with each method on a small model with random weights: it must learn, and go on as if undisturbed."""

from __future__ import annotations

import json
import random
import shlex
import shutil
import traceback
from pathlib import Path
from typing import Any

import pytest
import yaml

from speechless.contract import FailureReason, FineTuneSettings, Lora, Method, Objective
from speechless.data.__main__ import main as check
from speechless.data.tokenizer import load_tokenizer
from speechless.errors import StageError
from speechless.finetune import harness
from speechless.finetune.finetune import main as train
from speechless.finetune.recipes import RECIPES, dpo, sft
from tests.docs.pages import blocks
from tests.library.training import ROWS, SETTINGS, Record, digest, encoded, job, run, write

pytest_plugins = ("tests.library.model_fixtures",)
pytestmark = pytest.mark.timeout(300)
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


def of_page(name: str, language: str) -> list[str]:
    place = f"docs/objectives/{name}.md"
    return [b.text for b in blocks() if b.place.startswith(f"{place}:") and b.language == language]


@pytest.mark.parametrize("objective", list(Objective))
def test_the_commands_and_the_resource_of_an_objectives_page(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    objective: Objective,
) -> None:
    """The page's rows are looked at and trained on by its commands, with fewer steps."""
    (rows,) = of_page(objective.lower(), "json")
    shown, trained = (
        shlex.split(block.replace("\\\n", "")) for block in of_page(objective.lower(), "console")
    )
    monkeypatch.chdir(tmp_path)
    Path("base").symlink_to(model)
    Path(trained[trained.index("--dataset") + 1]).write_text(rows.strip() + "\n")
    assert shown[:3] == ["python", "-m", "speechless.data"]
    assert check(shown[3:]) == 0
    assert "[[" in capsys.readouterr().out
    assert trained[:3] == ["python", "-m", "speechless.finetune.finetune"]
    assert train([*trained[3:], "--max_steps", "2", "--eval_dataset_size", "0"]) == 0
    folder = Path(trained[trained.index("--output_dir") + 1])
    numbers = json.loads((folder / "train_results.json").read_text())
    own = {name for name in RECIPES[objective].load().METRICS if not name.startswith("eval/")}
    assert {"train/loss", "train/tokens", *own} <= set(numbers)
    result = folder if "--full_finetune" in trained else folder / "latest" / "adapter_model"
    assert f"{objective}: " in (result / "README.md").read_text()
    assert (result / "loss.svg").read_text().startswith("<svg")
    for program in of_page(objective.lower(), "python"):
        exec(compile(program, "the page", "exec"), {})
        if "print(" not in program:
            continue  # a module of the user's: tests/library/test_train_custom.py trains with it
        assert capsys.readouterr().out.splitlines()[-1] in ("True", "False")
    (resource,) = of_page(objective.lower(), "yaml")
    spec = yaml.safe_load(resource)["spec"]
    assert spec["objective"] == objective
    FineTuneSettings.model_validate({name: spec[name] for name in spec if name not in ("model", "dataset")})


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


VARIANTS: dict[str, dict[str, Any]] = {
    "packing": {"packing": True},
    "groups of one length": {"group_by_length": True},
    "adafactor": {"optim": "adafactor"},
    "noise": {"neftune_noise_alpha": 1},
    "checkpointing": {"gradient_checkpointing": True},
    "eager attention": {"attn_implementation": "eager"},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_it_learns_with_each_setting(model: Path, tmp_path: Path, name: str) -> None:
    settings = SETTINGS.model_copy(update=VARIANTS[name])
    told, _ = run(job(model, tmp_path, Objective.SFT, Method.LORA, hyperparameters=settings))
    losses = told.losses()
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("lora", [Lora(r=8, use_rslora=True), Lora(r=8, use_dora=True)])
def test_it_learns_with_each_kind_of_adapter(model: Path, tmp_path: Path, lora: Lora) -> None:
    told, _ = run(job(model, tmp_path, Objective.SFT, Method.LORA, lora=lora))
    losses = told.losses()
    assert losses[-1] < 0.7 * losses[0]
    saved = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (saved["use_rslora"], saved["use_dora"]) == (lora.use_rslora, lora.use_dora)


@pytest.mark.parametrize("method", list(Method))
def test_what_learned_to_end_its_turns_is_stopped_by_that_token(
    model: Path, tmp_path: Path, method: Method
) -> None:
    """A base whose chat template ends turns with another token than its end of text."""
    base = tmp_path / "base"
    shutil.copytree(model, base)
    template = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|system|>{% endfor %}"
    (base / "chat_template.jinja").write_text(
        template + "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    talk = [{"role": "user", "content": "sum of x"}, {"role": "assistant", "content": "return x"}]
    rows = encoded(base, write([{"messages": talk}] * 4, tmp_path / "rows.jsonl"), Objective.SFT)
    settings = SETTINGS.model_copy(update={"max_steps": 1})
    run(job(base, tmp_path, Objective.SFT, method, rows=rows, hyperparameters=settings))
    saved = json.loads((tmp_path / "out" / "generation_config.json").read_text())["eos_token_id"]
    tokenizer = load_tokenizer(base)
    assert saved == [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|system|>")]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_a_row_has_the_same_loss_packed_and_alone(model: Path, attention: str) -> None:
    """No token sees one of another row, and none is asked to predict the next row's first."""
    import torch

    from speechless.finetune.models import load_model

    loaded = load_model(model, torch.float32, attention)
    chance = random.Random(2)
    rows = [
        {"input_ids": ids, "labels": list(ids)}
        for length in (5, 9, 3, 12, 7)
        for ids in [[chance.randrange(5, 200) for _ in range(length)]]
    ]
    packed = list(sft.pack(rows, 16))
    assert len(packed) < len(rows)
    assert sorted(token for row in packed for token in row["input_ids"]) == sorted(
        token for row in rows for token in row["input_ids"]
    )

    def losses(batch: dict[str, list[int]]) -> list[float]:
        given = {name: torch.tensor([values]) for name, values in batch.items()}
        labels = given.pop("labels")[0, 1:]
        with torch.no_grad():
            logits = loaded(**given, use_cache=False).logits[0, :-1]
        return [
            float(value)
            for value in torch.nn.functional.cross_entropy(logits, labels, reduction="none")[labels != -100]
        ]

    alone = sorted(value for row in rows for value in losses(row))
    together = sorted(value for row in packed for value in losses(row))
    assert together == pytest.approx(alone, rel=1e-4)


def test_a_run_ends_early_where_the_loss_on_held_out_rows_falls_no_more(model: Path, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(
        update={"learning_rate": 0.5, "early_stopping_patience": 2, "max_steps": 40}
    )
    more = {"hyperparameters": settings, "heldout": 4, "eval_steps": 1}
    told, outcome = run(job(model, tmp_path, Objective.SFT, Method.LORA, **more))
    assert outcome.steps < 40
    assert told.kept == [outcome.steps]
    (tmp_path / "out").rename(tmp_path / "before")
    again, same = run(job(model, tmp_path, Objective.SFT, Method.LORA, **more))
    assert (again.kept, same.steps) == ([], outcome.steps)
    assert digest(tmp_path / "before") == digest(tmp_path / "out")


def test_a_run_that_unlearns_ends_with_a_reason(model: Path, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"learning_rate": 1.0, "max_steps": 40})
    with pytest.raises(StageError, match=r"loss rose from .* and stayed there: step \d+ of 40") as ended:
        run(job(model, tmp_path, Objective.SFT, Method.FULL, hyperparameters=settings))
    assert ended.value.reason is FailureReason.LOSS_DIVERGED


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
