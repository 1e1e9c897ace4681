"""A manifest that is applied to a cluster is trained and merged here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from speechless.contract import Objective
from speechless.finetune import merge_peft_adapters
from speechless.finetune.__main__ import main
from tests.library.training import ROWS, write
from tests.unit.layout.repository import ROOT

pytest_plugins = ("tests.library.model_fixtures",)
FILE = Path("examples/demo/30-finetune.yaml")
COMMAND = ["run", "-f", str(FILE), "--claims", "speechless-artifacts=store"]


def test_the_demos_manifest_is_trained_and_merged_here(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    FILE.parent.mkdir(parents=True)
    shutil.copy(ROOT / FILE, FILE)
    write(ROWS[Objective.SFT], tmp_path / "store" / "inputs" / "train.jsonl")
    (tmp_path / "store" / "inputs" / "base").symlink_to(model)
    assert main([*COMMAND, "--dry-run", "-o", "json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["batch"], made["learning_rate"], made["output"]) == (16, 0.003, "tuned")
    assert not (tmp_path / "tuned").exists()
    assert main([*COMMAND, "-o", "json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["trained"] is True
    assert "spec.pod has no effect here" in told.err
    assert (tmp_path / "tuned" / "latest" / "adapter_model").is_dir()
    merged = tmp_path / "tuned" / "merged"
    assert (merged / "model.safetensors").is_file()
    before = merged.stat().st_mtime_ns
    assert main(COMMAND) == 0
    assert merged.stat().st_mtime_ns == before
    assert "holds a completed run" in capsys.readouterr().out
    # A merge that fails later takes nothing away.
    monkeypatch.setattr(merge_peft_adapters, "main", lambda _: 1)
    assert main([*COMMAND, "--restart"]) == 1
    assert merged.stat().st_mtime_ns == before
