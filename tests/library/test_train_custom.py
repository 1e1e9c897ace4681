"""Losses of one's own: tags that weigh more, and a trainer class out of a file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from speechless.contract import FailureReason, Method, Objective
from speechless.data.tokenizer import load_tokenizer
from speechless.errors import StageError
from speechless.finetune import tasks
from speechless.finetune.custom import Tags, trainer_file
from speechless.finetune.finetune import main
from speechless.finetune.job import Extras
from tests.docs.pages import blocks
from tests.library.training import ROWS, SETTINGS, digest, job, run, write

pytest_plugins = ("tests.library.model_fixtures",)
pytestmark = pytest.mark.timeout(300)
FEW = SETTINGS.model_copy(update={"max_steps": 3})
TWICE = """
from transformers import Trainer


class Twice(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss = super().compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
        return 2 * loss
"""


def test_a_tag_is_found_however_it_is_cut(model: Path) -> None:
    tokenizer = load_tokenizer(model)
    tags = Tags(Extras(fixed_tags=("<tag>",), fixed_tag_weight=3, allowed_token_weight=0.5), tokenizer)
    for text in ("x<tag> return", "x<tag>>sum<tag>", " <tag>\n\nx"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        pieces = [tokenizer.decode([number]) for number in ids]
        weights = tags.of([-100, *ids])
        assert weights[0] == 0
        heavy = "".join(piece for piece, weight in zip(pieces, weights[1:], strict=True) if weight == 3)
        assert heavy.count("<tag>") == text.count("<tag>")
        assert "x" not in heavy.replace("<tag>", "")
        assert set(weights[1:]) == {3, 0.5}


def test_weights_of_one_are_the_loss_that_it_was(model: Path, tmp_path: Path) -> None:
    plain, _ = run(job(model, tmp_path / "plain", Objective.SFT, Method.LORA, hyperparameters=FEW))
    told = {}
    for weight in (1.0, 2.0):
        extras = Extras(fixed_tags=("return",), fixed_tag_weight=weight)
        more: Any = {"hyperparameters": FEW, "extras": extras}
        told[weight], _ = run(job(model, tmp_path / str(weight), Objective.SFT, Method.LORA, **more))
    assert told[1.0].losses() == pytest.approx(plain.losses(), rel=1e-4)
    assert told[2.0].losses()[0] > 1.05 * plain.losses()[0]


def test_a_tag_that_is_not_learned_is_refused(model: Path, tmp_path: Path) -> None:
    extras = Extras(fixed_tags=("return", "<none>"))
    with pytest.raises(StageError, match="--fixed_tags: no row has '<none>' in what is learned") as refused:
        run(job(model, tmp_path, Objective.SFT, Method.LORA, hyperparameters=FEW, extras=extras))
    assert refused.value.reason is FailureReason.DATASET_INVALID


@pytest.mark.parametrize("objective", list(Objective))
def test_a_trainer_of_ones_own_takes_the_place_of_the_loss(
    model: Path, tmp_path: Path, objective: Objective
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(TWICE)
    plain, _ = run(job(model, tmp_path / "plain", objective, Method.LORA, hyperparameters=FEW))
    extras = Extras(**trainer_file(file, "Twice"))
    own, _ = run(job(model, tmp_path / "own", objective, Method.LORA, hyperparameters=FEW, extras=extras))
    assert own.losses()[0] == pytest.approx(2 * plain.losses()[0], rel=1e-4)


def test_the_trainer_of_the_page(model: Path, tmp_path: Path) -> None:
    (text,) = (
        b.text for b in blocks() if b.place.startswith("docs/objectives/sft.md:") and b.language == "python"
    )
    file = tmp_path / "mine.py"
    file.write_text(text)
    plain, _ = run(job(model, tmp_path / "plain", Objective.SFT, Method.LORA, hyperparameters=FEW))
    extras = Extras(**trainer_file(file, "Mine"))
    own, _ = run(job(model, tmp_path / "own", Objective.SFT, Method.LORA, hyperparameters=FEW, extras=extras))
    loss = plain.losses()[0]
    assert own.losses()[0] == pytest.approx((1 - math.exp(-loss)) ** 2 * loss, rel=1e-3)


def test_the_trainer_of_a_task_directory(model: Path, tmp_path: Path) -> None:
    file = tasks.find_template(None, {}) / "custom_training.py"
    plain, _ = run(job(model, tmp_path / "plain", Objective.SFT, Method.LORA, hyperparameters=FEW))
    extras = Extras(**trainer_file(file, "FocalLoss"))
    own, _ = run(job(model, tmp_path / "own", Objective.SFT, Method.LORA, hyperparameters=FEW, extras=extras))
    loss = plain.losses()[0]
    assert own.losses()[0] == pytest.approx((1 - math.exp(-loss)) ** 2 * loss, rel=1e-3)


@pytest.mark.parametrize(
    ("text", "name", "what"),
    [
        ("1 / 0", "Twice", "it cannot be run: ZeroDivisionError: division by zero"),
        (TWICE, "Thrice", "mine.py has no trainer of this name"),
        (TWICE + "other = 3", "other", "mine.py has no trainer of this name"),
        ("from trl import KTOTrainer\nclass Own(KTOTrainer):\n    pass\n", "Own", None),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(
    model: Path, tmp_path: Path, text: str, name: str, what: str | None
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)
    extras = Extras(**trainer_file(file, name))
    objective = Objective.SFT if what else Objective.KTO
    wanted = job(model, tmp_path, objective, Method.LORA, hyperparameters=FEW, extras=extras)
    if what is None:
        run(wanted)
        return
    with pytest.raises(StageError, match=what) as refused:
        run(wanted)
    assert refused.value.reason is FailureReason.INVALID_SPEC


def test_the_command_line_and_another_file_are_another_run(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(ROWS[Objective.SFT], Path("rows.jsonl"))
    Path("mine.py").write_text(TWICE)
    words = f"--model_name_or_path {model} --dataset rows.jsonl --max_steps 1 --eval_dataset_size 0".split()
    words += ["--custom_training_module_file", "mine.py", "--custom_trainer_name", "Twice"]
    assert main([*words, "--output_dir", "own"]) == 0
    assert main([*words[:-4], "--output_dir", "plain"]) == 0
    results = [Path(name) / "latest" / "adapter_model" for name in ("own", "plain")]
    assert digest(results[0])["loss.svg"] != digest(results[1])["loss.svg"]
    Path("mine.py").write_text(TWICE.replace("2 *", "3 *"))
    assert main([*words, "--output_dir", "own"]) == 2
    assert "other settings or other data (extras.trainer_sha256)" in capsys.readouterr().err
