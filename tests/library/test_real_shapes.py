"""Models of the sizes that `make finetune_mistral_7b` and `make finetune_34b` are for: their plan, and what is refused.

Their folders are as the real ones: configuration, index, several files of weights of the right length. The weights are
holes in the files, so they take no room.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.finetune import models, plan, tasks, variables
from speechless.finetune.finetune import main
from tests.library.training import ROWS, write
from tests.support.model_files import write_safetensors

pytest_plugins = ("tests.library.model_fixtures",)
MISTRAL = MistralConfig(
    vocab_size=32000, max_position_embeddings=32768, sliding_window=None, dtype="bfloat16"
)
CODELLAMA = LlamaConfig(
    vocab_size=32000, hidden_size=8192, intermediate_size=22016, num_hidden_layers=48, num_attention_heads=64,
    num_key_value_heads=8, max_position_embeddings=16384, dtype="bfloat16",
)  # fmt: skip
SIZES = {"mistral_7b": (MISTRAL, 3, 7_241_732_096), "34b": (CODELLAMA, 7, 33_743_970_304)}
"""Configuration, files of weights and parameters of Mistral-7B-v0.2 and CodeLlama-34b."""
HERE = 32e9
"""Bytes of memory: with changes the smaller one fits."""


@pytest.fixture(scope="module", params=list(SIZES))
def real(request: pytest.FixtureRequest, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    config, files, parameters = SIZES[request.param]
    folder = tmp_path_factory.mktemp("real") / request.param
    folder.mkdir()
    for file in (*model.glob("*token*"), *model.glob("chat_template*")):
        shutil.copy(file, folder)
    with torch.device("meta"):
        shapes = AutoModelForCausalLM.from_config(config).state_dict()
    names, index = list(shapes), {}
    for number in range(files):
        part = names[number::files]
        file = f"model-{number + 1:05}-of-{files:05}.safetensors"
        write_safetensors(folder / file, {name: ("BF16", tuple(shapes[name].shape)) for name in part})
        index |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    config.save_pretrained(folder)
    return request.param, folder, parameters


def test_the_plan_says_what_takes_memory_and_what_to_change(
    real: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task, folder, parameters = real
    made = tasks.init(tmp_path, task, tasks.find_template(None, {}))
    assert made is not None
    rows = next(rows for objective, rows in ROWS.items() if objective == "SFT")
    write(rows, tmp_path / "rows.jsonl")
    monkeypatch.chdir(made)
    monkeypatch.setattr(plan, "usable_memory", lambda: int(HERE))
    given = {"BASE_MODEL_PATH": str(folder), "DATASET": "../rows.jsonl"}
    argv = variables.arguments(tasks.taskenv.read(made / tasks.ENV, given), given)
    # Also where there is a GPU.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main([*argv, "--dry_run"]) == 0
    told = capsys.readouterr().out
    assert f"{parameters} parameters of 4 bytes" in told
    assert "IT DOES NOT FIT" in told
    fits = task == "mistral_7b"
    batch = 2 if fits else 1
    assert f"--gradient_checkpointing true; --per_device_train_batch_size {batch} --gradient" in told
    assert f"in task.env: GRADIENT_CHECKPOINTING=true PER_DEVICE_TRAIN_BATCH_SIZE={batch} GRADIENT" in told
    assert ("it takes 31" in told) == fits
    assert main([*argv, "--dry_run", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    memory, parts = found["memory"], {part["name"]: part["bytes"] for part in found["memory"]["components"]}
    assert parts["weights"] == 4 * parameters
    assert memory["total"] == sum(parts.values())
    assert memory["after"] < memory["total"]
    # All linear layers, rank 32: seven matrices a layer.
    config = SIZES[task][0]
    inner, hidden = config.intermediate_size, config.hidden_size
    keys = config.num_key_value_heads * config.head_dim
    layer = 2 * (hidden + hidden) + 2 * (hidden + keys) + 3 * (hidden + inner)
    assert found["trained_parameters"] == 32 * layer * config.num_hidden_layers
    assert (memory["after"] <= HERE) == fits
    if not fits:
        # Weights of two bytes, and little beside them.
        assert 2 * parameters < memory["on_gpu"] < 2.4 * parameters
        assert "take a smaller model, or a GPU: in bfloat16 it takes" in told
    assert not (made / "outputs").exists()


def test_weights_that_cannot_fit_are_not_loaded(real: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, folder, parameters = real
    monkeypatch.setattr(models, "usable_memory", lambda: 4 * parameters - 1)
    with pytest.raises(StageError, match="its weights as float32 take") as caught:
        models.load_model(folder, torch.float32)
    assert caught.value.reason is FailureReason.OUT_OF_MEMORY
    # What is held as it is stored may stay on the disk: the next thing that is looked at is told.
    monkeypatch.setattr(models, "usable_memory", lambda: 1)
    monkeypatch.setattr(models.AutoModelForCausalLM, "from_pretrained", _reached)
    with pytest.raises(StageError, match="reached"):
        models.load_model(folder, torch.bfloat16)


def _reached(*_: object, **__: object) -> None:
    raise ValueError("reached")
