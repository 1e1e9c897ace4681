"""The trainer's command line before it trains: what is not there is one line."""

from pathlib import Path

import pytest

from speechless.finetune import finetune


@pytest.mark.parametrize("dataset", ["nosuch.jsonl", "nosuch.jsonl,b.jsonl"])
def test_rows_that_are_not_there_are_named(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    argv = ["--model_name_or_path", "model", "--dataset", dataset, "--output_dir", "out"]
    assert finetune.main(argv) == 1
    told = capsys.readouterr().err
    assert told.endswith("speechless finetune: nosuch.jsonl: No such file or directory\n")
