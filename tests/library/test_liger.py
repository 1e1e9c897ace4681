"""Liger's kernels: a model computes the same with them, and where they cannot be had is told before it is read."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from speechless.contract import FailureReason, Method, Objective, Pretrain
from speechless.errors import StageError
from speechless.finetune import device
from speechless.finetune.finetune import main
from tests.library.training import ROWS, SETTINGS, job, run, write

pytest_plugins = ("tests.library.model_fixtures",)
pytestmark = pytest.mark.timeout(300)
ASKED = SETTINGS.model_copy(update={"use_liger_kernel": True})
GPU = device.Device("cuda", bf16=True)


@pytest.mark.parametrize("scratch", [False, True])
def test_a_model_computes_the_same_with_them(model: Path, tmp_path: Path, scratch: bool) -> None:
    """In a process of its own: Liger changes Transformers' module of the model, too."""
    objective = Objective.PRETRAIN if scratch else Objective.SFT
    options = Pretrain(from_scratch=scratch).model_dump() if scratch else {}
    wanted = job(model, tmp_path, objective, Method.FULL, hyperparameters=ASKED, options=options)
    (tmp_path / "job.json").write_text(wanted.model_dump_json())
    done = subprocess.run(
        [sys.executable, "-m", "tests.library.liger_on_cpu", str(tmp_path / "job.json")],
        env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=True, timeout=250,
    )  # fmt: skip
    told = json.loads(done.stdout.splitlines()[-1])
    assert {"liger_kernel.transformers.rms_norm", "liger_kernel.transformers.swiglu"} <= set(told["layers"])
    assert 0 < told["logits"] < 1e-3
    assert told["gradients"] < 1e-4 * told["largest"] + 1e-5


def test_where_they_cannot_be_had_is_told_before_the_model_is_read(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        StageError, match=r"useLigerKernel: Liger's kernels need a GPU; this runs on a CPU"
    ) as caught:
        run(job(model, tmp_path, Objective.SFT, Method.LORA, hyperparameters=ASKED))
    assert caught.value.reason is FailureReason.INVALID_SPEC
    write(ROWS[Objective.SFT], tmp_path / "rows.jsonl")
    words = [
        "--model_name_or_path",
        str(model),
        "--dataset",
        "rows.jsonl",
        "--dry_run",
        "--use_liger_kernel",
        "True",
    ]
    assert main(words) == 2
    assert "useLigerKernel: Liger's kernels need a GPU" in capsys.readouterr().err


def test_a_model_that_they_do_not_know_and_a_missing_package_are_named(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.check_liger(asked=True, model=model, where=GPU)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(StageError, match=r"no kernels for models of the type gpt2, but for .*llama"):
        device.check_liger(asked=True, model=tmp_path, where=GPU)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "liger_kernel" else find(name, *more)
    )
    with pytest.raises(StageError, match="useLigerKernel needs the package liger-kernel") as caught:
        device.check_liger(asked=True, model=model, where=GPU)
    assert "speechless-llm[liger]" in (caught.value.hint or "")
    device.check_liger(asked=False, model=tmp_path, where=GPU)
