"""Which layers get an adapter: nn.Linear and Conv1D, by names that mean nothing else; a GPT-2 from rows to merge."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, MixtralConfig, MixtralForCausalLM
from transformers.pytorch_utils import Conv1D

from speechless.contract import FailureReason, Lora
from speechless.errors import StageError
from speechless.finetune.adapters import adapters_of
from speechless.finetune.finetune import main as train
from speechless.finetune.merge_peft_adapters import main as merge
from tests.library import merge_models

pytest_plugins = ("tests.library.model_fixtures",)


class Odd(torch.nn.Module):
    """Two blocks in a list, a linear layer in a sequence (its name is a number, too), and an output."""

    def __init__(self, output: Any = None) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(
            [torch.nn.ModuleDict({"up": torch.nn.Linear(4, 4)}) for _ in range(2)]
        )
        self.mix = torch.nn.Sequential(torch.nn.LayerNorm(4), torch.nn.Linear(4, 4), Conv1D(4, 4))
        self.head = output or torch.nn.Linear(4, 9)

    def get_output_embeddings(self) -> Any:
        return self.head


def test_names_mean_linear_layers_and_nothing_else() -> None:
    config = adapters_of(Odd(), Lora())
    assert config.target_modules == {"up", "mix.1", "2"}  # 0 and 1 are blocks, too; 2 is nothing else
    assert config.fan_in_fan_out
    assert not adapters_of(Odd(), Lora(target_modules=("up",))).fan_in_fan_out


@pytest.mark.parametrize("name", ["1", "head", "layers", "nothing"])
def test_another_name_is_refused(name: str) -> None:
    with pytest.raises(StageError, match=f"{name} is no linear layer") as caught:
        adapters_of(Odd(), Lora(target_modules=(name,)))
    assert caught.value.reason is FailureReason.INVALID_SPEC
    assert caught.value.hint == "there are 2, mix.1, up"


def test_a_model_without_linear_layers_is_refused() -> None:
    class Bare(torch.nn.Module):
        def get_output_embeddings(self) -> None:
            return None

    with pytest.raises(StageError, match="Bare: it has no linear layer that can be adapted"):
        adapters_of(Bare(), Lora())


@pytest.mark.parametrize("names", [[], ["--lora_modules", "c_attn"]], ids=["all", "named"])
def test_a_gpt2_learns_and_merges(model: Path, tmp_path: Path, names: list[str]) -> None:
    base = merge_models.gpt2(model, tmp_path / "gpt2")
    rows = [{"prompt": f"sum of {word}", "completion": f" return {word} (2)"} for word in "abcdefgh"]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out"
    words = ["--dataset", str(tmp_path / "rows.jsonl"), "--output_dir", str(out), "--max_steps", "12"]
    more = ["--learning_rate", "5e-3", "--eval_dataset_size", "0", "--gradient_accumulation_steps", "1"]
    assert train(["--model_name_or_path", str(base), *words, *more, *names]) == 0
    log = [json.loads(line) for line in (out / "trainer_log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in log if "loss" in line]
    assert losses[-1] < 0.8 * losses[0]
    adapter = out / "latest" / "adapter_model"
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert config["fan_in_fan_out"] is True
    assert config["target_modules"] == (["c_attn"] if names else ["c_attn", "c_fc", "c_proj"])
    words = ["--base_model_name_or_path", str(base), "--lora_model_path", str(out / "latest")]
    assert merge([*words, "--merged_model_name_or_path", str(tmp_path / "merged")]) == 0
    wanted = merge_models.said_by_adapter(base, adapter)
    assert (merge_models.said_by_folder(tmp_path / "merged") - wanted).abs().max() < 1e-4
    plain = AutoModelForCausalLM.from_pretrained(base)
    assert (merge_models.said(plain) - wanted).abs().max() > 0.1


def test_rows_are_cut_where_a_model_has_no_more_positions(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A GPT-2 has a vector for each; a token behind the last one would be an index out of range."""
    base = merge_models.gpt2(model, tmp_path / "gpt2")
    rows = [{"prompt": "sum of", "completion": f" {word}" * 300} for word in "abcdefgh"]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["--model_name_or_path", str(base), "--dataset", str(tmp_path / "rows.jsonl")]
    words += ["--output_dir", str(tmp_path / "out"), "--max_steps", "1", "--model_max_length", "512"]
    assert train([*words, "--dry_run", "-o", "json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["longest"] == 256
    assert "--model_max_length 512: the model has 256 positions; rows are cut there" in made["notes"]
    assert train(words) == 0
    told = capsys.readouterr().err + caplog.text
    assert "the model has 256 positions and can read no more" in told


def test_experts_that_get_no_adapter_are_told(caplog: pytest.LogCaptureFixture) -> None:
    config = MixtralConfig(
        vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, num_local_experts=2,
    )  # fmt: skip
    found = adapters_of(MixtralForCausalLM(config), Lora())
    assert sorted(found.target_modules) == ["k_proj", "o_proj", "q_proj", "v_proj"]
    assert "experts (down_proj, gate_up_proj) get no adapter" in caplog.text
