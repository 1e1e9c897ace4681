"""Training on a GPU: a run that was stopped ends with the bytes of one that was not, and each way to train learns."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from speechless.contract import Hyperparameters, Method, Objective, Precision, Qlora
from speechless.errors import StageError
from tests.library import training
from tests.library.training import ROWS, SETTINGS, digest, job, run

pytestmark = pytest.mark.timeout(300)
WORDS = "for x in the list of numbers if not sum return max len sorted x "
SMALL = SETTINGS.model_copy(update={"max_steps": 6, "max_length": 512, "learning_rate": 1e-4})


@pytest.mark.parametrize("method", list(Method))
@pytest.mark.parametrize("objective", [Objective.SFT, Objective.DPO])
def test_a_model_of_a_real_shape_goes_on_with_the_same_bytes(
    shape_1b: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: Objective, method: Method
) -> None:
    """Rows of different lengths: attention with a mask, in bfloat16."""
    long = {
        Objective.SFT: [{"prompt": "x", "completion": WORDS * (1 + n % 5)} for n in range(24)],
        Objective.DPO: [
            {"prompt": "x", "chosen": WORDS * (1 + n % 5), "rejected": f"not {WORDS}"} for n in range(24)
        ],
    }
    monkeypatch.setitem(ROWS, objective, long[objective])
    more = {"hyperparameters": SMALL, "precision": Precision.AUTO}
    _, outcome = run(job(shape_1b, tmp_path / "whole", objective, method, **more))
    assert outcome.settings["device"] == "cuda"
    assert outcome.settings["precision"] == "bf16"
    with pytest.raises(StageError):
        run(job(shape_1b, tmp_path / "halves", objective, method, **more), stop_at=3)
    told, outcome = run(job(shape_1b, tmp_path / "halves", objective, method, **more))
    assert (outcome.resumed_from, told.step) == (3, 6)
    assert digest(tmp_path / "halves" / "out") == digest(tmp_path / "whole" / "out")


VARIANTS: dict[str, tuple[Method, dict[str, Any], dict[str, Any]]] = {
    "pure bf16": (Method.FULL, {}, {"precision": Precision.PURE_BF16}),
    "fp32": (Method.LORA, {}, {"precision": Precision.FP32}),
    "Liger, Full": (Method.FULL, {"use_liger_kernel": True}, {}),
    "Liger, QLoRA": (Method.QLORA, {"use_liger_kernel": True}, {}),
    "packed": (Method.LORA, {"packing": True}, {}),
    "paged 8 bit": (Method.FULL, {"optim": "paged_adamw_8bit"}, {}),
    "lion 8 bit": (Method.FULL, {"optim": "lion_8bit", "learning_rate": 5e-4}, {}),
    "fused": (Method.FULL, {"optim": "adamw_torch_fused"}, {}),
    "8 bits": (Method.QLORA, {}, {"qlora": Qlora(bits=8)}),
    "fp4": (Method.QLORA, {}, {"qlora": Qlora(quant_type="fp4", double_quant=False)}),
    "eager": (Method.LORA, {"attn_implementation": "eager"}, {}),
    "kept activations": (Method.FULL, {"gradient_checkpointing": False}, {}),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_it_learns(model: Path, tmp_path: Path, name: str) -> None:
    method, settings, more = VARIANTS[name]
    given: Hyperparameters = SETTINGS.model_copy(update={"max_steps": 20, **settings})
    told, outcome = run(job(model, tmp_path, Objective.SFT, method, hyperparameters=given, **more))
    assert outcome.settings["device"] == "cuda"
    losses = [one["loss"] for one in told.values if "loss" in one]
    assert losses[-1] < 0.7 * losses[0]


def test_flash_attention_is_refused_where_it_is_not_installed(model: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("flash_attn") is not None:
        pytest.skip("flash-attn is installed")
    given = training.SETTINGS.model_copy(update={"attn_implementation": "flash_attention_2"})
    with pytest.raises(StageError, match="the package flash-attn"):
        run(job(model, tmp_path, Objective.SFT, Method.LORA, hyperparameters=given))
