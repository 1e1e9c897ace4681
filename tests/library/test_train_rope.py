"""Rows beyond a model's context: positions that are scaled on request, and never otherwise."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from speechless.contract import METHODS, FailureReason, Format, Method, Objective, RopeScaling
from speechless.errors import StageError
from speechless.finetune import rope
from speechless.finetune.finetune import main
from speechless.finetune.merge import merge
from speechless.models import read_info
from tests.library import random_model
from tests.library.training import ROWS, SETTINGS, encoded, job, run, write

pytest_plugins = ("tests.library.model_fixtures",)
pytestmark = pytest.mark.timeout(300)
CONTEXT = 256
"""Positions of the model."""
LONG = [{"prompt": "sum of", "completion": random_model.text(160, seed=seed)} for seed in range(4)]


def changed(model: Path, folder: Path, **values: Any) -> Path:
    """The model with another configuration; None removes a value."""
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text()) | values
    kept = {name: value for name, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(kept))
    return folder


def logits(folder: Path, length: int) -> Any:
    """Of the last token of a text: (vocabulary)."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.arange(length)[None] % 300 + 5
    with torch.no_grad():
        return model(ids).logits[0, -1]


@pytest.mark.parametrize("method", list(Method))
@pytest.mark.parametrize("kind", ["linear", "dynamic", "yarn"])
def test_the_result_reads_rows_beyond_the_context_by_its_scaling(
    model: Path, tmp_path: Path, kind: Any, method: Method
) -> None:
    scaled = rope.prepare(model, RopeScaling(type=kind), 4 * CONTEXT, tmp_path / "scaled")
    file = write(ROWS[Objective.SFT], tmp_path / "some" / "rows.jsonl")
    settings = {"rows": encoded(model, file, Objective.SFT)}
    settings["hyperparameters"] = SETTINGS.model_copy(update={"max_steps": 2})
    run(job(scaled, tmp_path, Objective.SFT, method, **settings))
    result = tmp_path / "out"
    if METHODS[method].adapters:
        result = tmp_path / "merged"
        merge(model, tmp_path / "out", result)
    config = json.loads((result / "config.json").read_text())
    assert (config["rope_parameters"]["rope_type"], config["rope_parameters"]["factor"]) == (kind, 4)
    assert config["max_position_embeddings"] == (CONTEXT if kind == "dynamic" else 4 * CONTEXT)
    assert not (result / rope.FILE).exists()
    info = read_info(result, Format.HUGGING_FACE)
    assert info is not None
    assert info.context_length == 4 * CONTEXT
    # The same weights without the scaling say something else where the scaling acts.
    plain = changed(result, tmp_path / "plain", **{
        name: json.loads((model / "config.json").read_text())[name]
        for name in ("rope_parameters", "max_position_embeddings")
    })  # fmt: skip
    far = (logits(result, 2 * CONTEXT) - logits(plain, 2 * CONTEXT)).abs().max()
    near = (logits(result, CONTEXT // 2) - logits(plain, CONTEXT // 2)).abs().max()
    assert far > 1e-2
    assert near == 0 if kind == "dynamic" else near > 1e-2


@pytest.mark.parametrize("style", ["today", "before Transformers 5"])
def test_a_configuration_keeps_its_style(model: Path, tmp_path: Path, style: str) -> None:
    base = model
    if style != "today":
        base = changed(model, tmp_path / "older", rope_parameters=None, rope_theta=5e5)
    made = rope.prepare(base, RopeScaling(type="yarn", factor=2), 64, tmp_path / "scaled")
    told = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": CONTEXT}
    config = json.loads((made / "config.json").read_text())
    if style == "today":
        assert config["rope_parameters"] == {"rope_theta": 10000.0, **told}
    else:
        assert (config["rope_theta"], config["rope_scaling"]) == (5e5, told)
    assert (made / "model.safetensors").resolve() == (base / "model.safetensors").resolve()
    assert made.name == base.name


GPT2 = {"model_type": "gpt2", "n_positions": 256, "rope_parameters": None}
HAS = {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}}


@pytest.mark.parametrize(
    ("values", "wanted", "what"),
    [
        (HAS, RopeScaling(type="yarn"), r"scaled already \(linear, factor 2.0\), and stay so"),
        (HAS, RopeScaling(type="linear", factor=4), r"scaled already \(linear, factor 2.0\), and stay so"),
        ({}, RopeScaling(type="linear"), "rows of 64 tokens are within its 256 positions"),
        (GPT2, RopeScaling(type="linear", factor=2), "it has no rotary positions"),
    ],
)
def test_what_cannot_be_scaled_is_refused(
    model: Path, tmp_path: Path, values: dict[str, Any], wanted: RopeScaling, what: str
) -> None:
    base = changed(model, tmp_path / "base", **values)
    with pytest.raises(StageError, match=what) as refused:
        rope.prepare(base, wanted, 64, tmp_path / "scaled")
    assert refused.value.reason is FailureReason.INVALID_SPEC


def test_scaling_that_a_model_has_stays(model: Path, tmp_path: Path) -> None:
    base = changed(model, tmp_path / "base", **HAS)
    assert rope.prepare(base, RopeScaling(type="linear", factor=2), 64, tmp_path / "scaled") == base
    assert rope.prepare(base, None, 4096, tmp_path / "scaled") == base
    run(job(base, tmp_path, Objective.SFT, Method.FULL))
    assert (
        json.loads((tmp_path / "out" / "config.json").read_text())["rope_parameters"]
        == HAS["rope_parameters"]
    )


def test_an_adapter_is_merged_with_the_base_as_it_was(model: Path, tmp_path: Path) -> None:
    """By the flags, with rows that are longer than the model's context; and a file of it that is broken is told."""
    file = write(LONG, tmp_path / "rows.jsonl")
    words = f"--model_name_or_path {model} --dataset {file} --output_dir {tmp_path}/out --max_steps 1".split()
    words += [
        "--eval_dataset_size",
        "0",
        "--model_max_length",
        "512",
        "--rope_scaling",
        "yarn",
        "--lora_r",
        "4",
    ]
    assert main(words) == 0
    adapter = tmp_path / "out" / "latest" / "adapter_model"
    assert json.loads((adapter / rope.FILE).read_text()) == {"type": "yarn", "factor": 2.0}
    assert json.loads((tmp_path / "out" / "train_results.json").read_text())["train/rows_cut"] == 0
    merge(model, adapter, tmp_path / "merged")
    info = read_info(tmp_path / "merged", Format.HUGGING_FACE)
    assert info is not None
    assert info.context_length == 2 * CONTEXT
    (adapter / rope.FILE).write_text("{}")
    with pytest.raises(StageError, match=f"{rope.FILE}: it cannot be read"):
        merge(model, adapter, tmp_path / "again")


def test_a_plan_says_what_happens_to_long_rows(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(LONG, tmp_path / "rows.jsonl")
    words = f"--model_name_or_path {model} --dataset {file} --output_dir {tmp_path}/out --dry_run".split()
    words += ["--eval_dataset_size", "0", "--model_max_length", "512"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert (
        "the model knows 256 positions; of what is behind them it may learn little, and nothing is scaled"
        in told
    )
    assert main([*words, "--rope_scaling", "linear"]) == 0
    told = capsys.readouterr().out
    assert "--rope_scaling: the model's 256 positions become 512" in told
    assert "learn little" not in told
    assert main([*words, "--rope_scaling", "linear", "--rope_scaling_factor", "1.5"]) == 0
    told = capsys.readouterr().out
    assert "become 384" in told
    assert "the model knows 384 positions; of what is behind them it may learn little\n" in told
