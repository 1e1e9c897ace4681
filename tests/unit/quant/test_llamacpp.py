"""Quantization with stand-ins for llama.cpp's programs: what is kept, read back, compared and refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from speechless.contract import FailureReason, GgufType
from speechless.errors import StageError
from speechless.generate.llamacpp.tools import BIN_VARIABLE
from speechless.generate.perplexity import Perplexity
from speechless.quant import llamacpp
from speechless.quant.__main__ import main
from speechless.quant.convert import WRITTEN, follow
from speechless.quant.llamacpp import ROUNDED as TENSOR
from speechless.quant.llamacpp import fallbacks, quantize
from tests.support.commands import status_of
from tests.support.gguf import write_gguf
from tests.support.model_files import AWQ, write_model

FLOATS = [("token_embd.weight", (256, 400), "F16"), ("norm.weight", (256,), "F32")]
ROUNDED = [("token_embd.weight", (256, 400), "Q8_0"), ("norm.weight", (256,), "F32")]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A GGUF file of floats, and a llama-quantize that copies a finished file."""
    write_gguf(tmp_path / "made.gguf", ROUNDED)
    tool = tmp_path / "bin" / "llama-quantize"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\necho "$3" > "{tmp_path}/asked"\ncp "{tmp_path}/made.gguf" "$2"\n')
    tool.chmod(0o755)
    monkeypatch.setenv(BIN_VARIABLE, str(tool.parent))
    return write_gguf(tmp_path / "model.gguf", FLOATS)


def go(model: Path, out: Path, **more: Any) -> dict[str, float]:
    settings: dict[str, Any] = {
        "type": GgufType.Q8_0,
        "verify_text": None,
        "max_increase_percent": None,
        "progress": lambda *_step: None,
        "stopping": lambda: False,
    }
    return {metric.name: metric.value for metric in quantize(model=model, out=out, **(settings | more))}


def test_what_the_tools_say_of_their_progress_is_followed() -> None:
    seen: list[tuple[int, int]] = []
    take = follow(TENSOR, lambda done, of: seen.append((done, of)))
    for piece in (
        "[   1/   4]   token_embd.weight - [",
        " 256, ... size\n[   2/",
        "   4] next\n",
        "no number",
        "",
    ):
        take(piece)
    assert seen == [(1, 4), (2, 4)]
    seen.clear()
    take = follow(WRITTEN, lambda done, of: seen.append((done, of)))
    for piece in ("INFO: begin\nWriting:   0%|   ", "\rWriting:  45%|###", "\rWriting: 100%|####"):
        take(piece)
    assert seen == [(0, 100), (45, 100), (100, 100)]


def test_each_tensor_is_a_step(model: Path, tmp_path: Path) -> None:
    tool = tmp_path / "bin" / "llama-quantize"
    lines = "".join(f"[{number:4}/{4:4}] tensor\\n" for number in range(1, 5))
    tool.write_text(f'#!/bin/sh\nprintf "{lines}"\ncp "{tmp_path}/made.gguf" "$2"\n')
    seen: list[int] = []
    go(model, tmp_path / "out", progress=lambda done, total, _metrics: seen.append(done))
    assert seen[0] == 100
    assert set(seen) <= {100, 125, 150, 175, 200}
    assert seen == sorted(seen)


def test_one_file_and_what_it_is(model: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    found = go(model, tmp_path / "out", progress=lambda done, _total, _metrics: seen.append(done))
    assert (tmp_path / "asked").read_text() == "Q8_0\n"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "model.Q8_0.gguf",
        "quantization.json",
    ]
    assert found["size/after"] == (tmp_path / "out/model.Q8_0.gguf").stat().st_size
    report = json.loads((tmp_path / "out/quantization.json").read_text())
    assert report["tensors"] == {"F32": 1, "Q8_0": 1}
    assert report["fallback"] == []
    assert seen == [100, 200, 200]
    assert model.is_file()


def measured(before: float, after: float) -> Any:
    values = iter([before, after])
    return lambda *_files, **_more: Perplexity(next(values), 100, 64, 4, 12.5)


def test_perplexity_is_compared(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llamacpp, "measure", measured(10.0, 10.2))
    (tmp_path / "t.txt").touch()
    found = go(model, tmp_path / "out", verify_text=tmp_path / "t.txt", max_increase_percent=2.1)
    assert (found["perplexity/before"], found["perplexity/after"]) == (10.0, 10.2)
    assert found["perplexity/increase_percent"] == pytest.approx(2.0)
    assert found["speed/after"] == 12.5
    assert "speed/after" not in (tmp_path / "out/quantization.json").read_text()


def test_above_the_limit_there_is_no_output(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llamacpp, "measure", measured(10.0, 12.0))
    with pytest.raises(
        StageError, match=r"Q8_0: perplexity on t\.txt rose from 10\.0000 to 12\.0000: by 20\.00 %, and 5 %"
    ) as refused:
        go(model, tmp_path / "out", verify_text=tmp_path / "t.txt", max_increase_percent=5.0)
    assert refused.value.reason is FailureReason.PERPLEXITY_INCREASED
    assert list((tmp_path / "out").iterdir()) == []


def test_a_rounded_model_is_not_rounded_again(model: Path, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"made\.gguf: is quantized already \(Q8_0\)"):
        go(tmp_path / "made.gguf", tmp_path / "out")


def test_a_tool_that_fails_is_an_error(model: Path, tmp_path: Path) -> None:
    (tmp_path / "bin" / "llama-quantize").write_text("#!/bin/sh\necho boom\nexit 4\n")
    with pytest.raises(StageError, match="exit status 4\nboom"):
        go(model, tmp_path / "out")


def test_rows_that_do_not_fit_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = write_gguf(
        tmp_path / "m.gguf", [("a", (256, 8), "Q4_K"), ("b", (96, 8), "Q5_0"), ("c", (96,), "F32")]
    )
    assert [tensor.name for tensor in fallbacks(file, GgufType.Q4_K_M)] == ["b"]
    assert "1 tensors are not Q4_K_M, because their rows are no multiple of 256, first b: Q5_0" in caplog.text
    assert fallbacks(file, GgufType.Q8_0) == []


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["llamacpp", "--model_path", "m", "--quant", "x"], 2, "unknown flag --quant"),
        (["llamacpp", "--model_path", "m", "--llamacpp_quant_type", "q5_k_m"], 2, "invalid choice"),
        (["llamacpp", "--model_path", "m", "--max_perplexity_increase", "1"], 2, "needs --verify_text"),
        (["llamacpp", "--model_path", "none"], 1, "none: no such model"),
        (["awq"], 2, "invalid choice"),
    ],
)
def test_mistakes_are_one_line(
    capsys: pytest.CaptureFixture[str], words: list[str], status: int, told: str
) -> None:
    assert status_of(main, words) == status
    errors = capsys.readouterr().err
    assert told in errors
    assert len(errors.splitlines()) == 1


def test_a_model_that_is_quantized_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_model(tmp_path / "awq", quantization_config=dict(AWQ))
    assert main(["llamacpp", "--model_path", str(folder)]) == 1
    assert "awq: its weights are quantized already (awq, 4 bits), quantizing takes" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["awq"]


def test_the_command_names_its_files(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["llamacpp", "--model_path", str(model), "--llamacpp_quant_type", "Q8_0"]
    assert main([*words, "--gguf_dir", str(tmp_path / "g"), "--skip-unknown"]) == 0
    captured = capsys.readouterr()
    assert f"quantized: {tmp_path}/g/model.Q8_0.gguf" in captured.out
    assert (tmp_path / "g" / "model.Q8_0.gguf").is_file()
    assert "--skip-unknown has no effect" in captured.err
