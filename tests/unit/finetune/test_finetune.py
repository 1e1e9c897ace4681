"""The trainer's command line before it trains: what is not there is one line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from speechless.finetune import finetune
from tests.support.gguf import write_gguf
from tests.support.model_files import AWQ, write_adapter, write_model


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


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda folder: write_model(folder, quantization_config=dict(AWQ)), "model: its weights are quantized already"),
        (write_adapter, "model: its format is Adapter, training takes HuggingFace (merge the adapter"),
        (lambda folder: write_gguf(folder / "m.gguf"), "model: its format is GGUF, training takes HuggingFace"),
        (lambda folder: folder.mkdir(), "model: neither a model nor a dataset"),
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_trained_is_one_line(
    made: Callable[[Path], object],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    made(tmp_path / "model")
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 8)
    argv = ["--model_name_or_path", "model", "--dataset", "rows.jsonl", "--output_dir", "out"]
    assert finetune.main(argv) == 1
    assert f"speechless finetune: {said}" in capsys.readouterr().err


def test_a_folder_of_another_program_is_refused_and_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out" / "checkpoint-5" / "adapter_model").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    for more in ([], ["--restart"]):
        argv = ["--model_name_or_path", "model", "--dataset", "rows.jsonl", "--output_dir", "out", *more]
        assert finetune.main(argv) == 2
        assert "out/checkpoint-5 was not written by this program" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
