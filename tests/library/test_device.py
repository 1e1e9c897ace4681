"""Where a run computes, and what is refused there before anything is loaded."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from speechless.contract import FailureReason, Precision, Qlora
from speechless.errors import StageError
from speechless.finetune import device, launch
from speechless.finetune.device import Device

CPU, GPU = Device("cpu", bf16=False), Device("cuda", bf16=True)


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same answers on a machine that has one: refusals are compared here, and tests/gpu runs on a real GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize("precision", [Precision.BF16, Precision.PURE_BF16])
def test_bfloat16_is_refused_on_a_cpu_and_on_a_gpu_without_it(
    precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StageError, match="needs a GPU that computes in bfloat16; this runs on a CPU") as told:
        device.choose(precision)
    assert told.value.reason is FailureReason.INVALID_SPEC
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    with pytest.raises(StageError, match="this runs on Tesla T4"):
        device.choose(precision)
    assert device.choose(Precision.AUTO) == Device("cuda", bf16=False)


def test_precision_auto_is_what_the_device_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device.choose(Precision.AUTO) == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert device.choose(Precision.AUTO) == GPU
    assert device.choose(Precision.FP32) == Device("cuda", bf16=False)


def test_apples_gpu_is_not_used_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert device.choose(Precision.AUTO) == CPU
    assert "(MPS) is not offered: this runs on the CPU" in caplog.text


@pytest.mark.parametrize("name", ["adamw_8bit", "paged_adamw_8bit", "adamw_bnb_8bit", "paged_adamw_32bit"])
def test_an_optimizer_of_bitsandbytes_needs_a_gpu(name: str) -> None:
    device.check_optimizer("adamw_torch_fused", CPU)
    with pytest.raises(StageError, match=f"optim {name} is one of bitsandbytes and needs a GPU"):
        device.check_optimizer(name, CPU)


def without(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    found = device.importlib.util.find_spec
    monkeypatch.setattr(
        device.importlib.util, "find_spec", lambda name: None if name in packages else found(name)
    )


def test_what_a_missing_package_is_needed_for_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "bitsandbytes", "flash_attn")
    with pytest.raises(StageError, match="method QLoRA needs the package bitsandbytes") as told:
        device.check_bits(Qlora(), CPU)
    assert "speechless-llm[qlora]" in told.value.hint
    with pytest.raises(StageError, match="optim adamw_8bit needs the package bitsandbytes"):
        device.check_optimizer("adamw_8bit", GPU)
    with pytest.raises(
        StageError, match="flash_attention_2 needs a GPU, bfloat16 and the package flash-attn"
    ):
        device.attention("flash_attention_2", GPU)
    assert device.attention(None, GPU) is None


@pytest.mark.parametrize("where", [CPU, Device("cuda", bf16=False)])
def test_flash_attention_is_taken_only_where_it_runs(where: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.importlib.util, "find_spec", lambda _: object())
    assert device.attention(None, GPU) == "flash_attention_2"
    assert device.attention("sdpa", GPU) == "sdpa"
    assert device.attention(None, where) is None
    with pytest.raises(StageError, match="attnImplementation") as told:
        device.attention("flash_attention_2", where)
    assert told.value.hint == "use sdpa, or leave it out"


def test_a_limit_of_a_gpus_memory_limits_no_cpu(caplog: pytest.LogCaptureFixture) -> None:
    device.limit_memory(1000, CPU)
    assert "nothing is limited" in caplog.text


@pytest.mark.parametrize(
    ("shown", "seen", "told"), [(None, "0", False), ("3,1", "3", True), ("2", "2", False), ("", "", False)]
)
def test_one_process_trains_on_one_gpu(
    shown: str | None,
    seen: str,
    told: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Of several, the trainer would use all at once, with as many times the batch that was asked for."""
    writes = "import os, pathlib; pathlib.Path('seen').write_text(os.environ['CUDA_VISIBLE_DEVICES'])"
    monkeypatch.setattr(launch, "_command", lambda _file, _ranks: [sys.executable, "-c", writes])
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if shown is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    with launch.Training(tmp_path) as training:
        training._process.wait(60)
    assert (tmp_path / "seen").read_text() == seen
    assert ("one process trains" in caplog.text) is told
