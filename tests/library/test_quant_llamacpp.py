"""From a Hugging Face folder to quantized files, by llama.cpp's own tools and where only wheels are installed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from speechless.contract import FailureReason, GgufType, Metric
from speechless.errors import StageError
from speechless.generate import find_model
from speechless.generate.perplexity import measure
from speechless.models.gguf import read_header
from speechless.quant.llamacpp import quantize, round_to
from tests.library import random_model
from tests.library.needs import needs_converter, needs_tool, needs_wheel

pytest_plugins = ("tests.library.model_fixtures",)
pytestmark = pytest.mark.timeout(600)

TENSORS = {
    GgufType.F16: {"F16": 15, "F32": 5},
    GgufType.Q8_0: {"F32": 5, "Q8_0": 15},
    GgufType.Q4_K_M: {"F32": 5, "Q4_K": 12, "Q6_K": 3},
}


def go(
    model: Path, out: Path, type: GgufType, text: Path | None, limit: float | None = None
) -> dict[str, float]:
    metrics: list[Metric] = quantize(
        model=model,
        out=out,
        type=type,
        verify_text=text,
        max_increase_percent=limit,
        progress=lambda *_step: None,
        stopping=lambda: False,
    )
    return {metric.name: metric.value for metric in metrics}


@pytest.mark.parametrize("type", list(GgufType))
@pytest.mark.parametrize("tools", [True, False], ids=["tools", "wheel"])
def test_types_sizes_and_perplexity(
    type: GgufType,
    tools: bool,
    model: Path,
    text_file: Path,
    tmp_path: Path,
    without_tools: Callable[[], None],
) -> None:
    needs_converter()
    if tools:
        needs_tool("llama-quantize")
        needs_tool("llama-perplexity")
    else:
        needs_wheel()
        without_tools()
        if type is GgufType.Q4_K_M:
            with pytest.raises(StageError, match="Q4_K_M of tiny needs llama-quantize"):
                go(model, tmp_path / "out", type, text_file)
            return
    found = go(model, tmp_path / "out", type, text_file)
    [file] = (tmp_path / "out").glob("*.gguf")
    header = read_header(file)
    assert header.types() == TENSORS[type]
    assert header.metadata["tokenizer.ggml.pre"] == "qwen2"
    assert header.metadata["tokenizer.chat_template"] == random_model.CHAT_TEMPLATE
    assert found["size/after"] == file.stat().st_size < found["size/before"]
    assert found["tensors/fallback"] == 0
    assert abs(found["perplexity/increase_percent"]) < 10
    assert json.loads((tmp_path / "out" / "quantization.json").read_text())["type"] == type.value


def test_perplexity_is_the_same_measure_for_all_files(model: Path, f16: Path, text_file: Path) -> None:
    needs_tool("llama-perplexity")
    before, after = measure(model, text_file), measure(f16, text_file)
    assert (before.context, before.windows, before.tokens) == (after.context, after.windows, after.tokens)
    assert after.value == pytest.approx(before.value, rel=5e-3)


def test_without_the_tool_the_measure_is_the_same(
    model: Path, f16: Path, text_file: Path, tmp_path: Path, without_tools: Callable[[], None]
) -> None:
    needs_tool("llama-quantize")
    needs_tool("llama-perplexity")
    needs_wheel()
    q8 = tmp_path / "q8.gguf"
    round_to(f16, q8, GgufType.Q8_0, original=find_model(f16))
    by_tool = [measure(f16, text_file), measure(q8, text_file)]
    without_tools()
    by_transformers = [measure(f16, text_file), measure(q8, text_file)]
    for tool, other in zip(by_tool, by_transformers, strict=True):
        assert (tool.context, tool.windows, tool.tokens) == (other.context, other.windows, other.tokens)
        assert other.value == pytest.approx(tool.value, rel=5e-3)


def test_rows_that_do_not_fit_are_reported(tmp_path: Path) -> None:
    needs_converter()
    needs_tool("llama-quantize")
    model = random_model.make(tmp_path / "narrow", hidden=128)
    found = go(model, tmp_path / "out", GgufType.Q4_K_M, None)
    assert found["tensors/fallback"] > 0
    report = json.loads((tmp_path / "out" / "quantization.json").read_text())
    assert {entry["type"] for entry in report["fallback"]} <= {"Q5_0", "Q8_0", "Q4_0", "Q5_1", "F16"}


def test_a_limit_that_is_passed(model: Path, text_file: Path, tmp_path: Path) -> None:
    needs_converter()
    needs_tool("llama-quantize")
    needs_tool("llama-perplexity")
    with pytest.raises(StageError, match=r"perplexity on .* rose from .* to .*: by") as refused:
        go(model, tmp_path / "out", GgufType.Q4_K_M, text_file, limit=0.001)
    assert refused.value.reason is FailureReason.PERPLEXITY_INCREASED
    assert list((tmp_path / "out").iterdir()) == []


def test_a_model_that_llama_cpp_does_not_know(tmp_path: Path) -> None:
    needs_converter()
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text(
        '{"architectures": ["NobodyForCausalLM"], "model_type": "nobody"}'
    )
    with pytest.raises(StageError, match="Nobody") as refused:
        go(tmp_path / "m", tmp_path / "out", GgufType.Q8_0, None)
    assert refused.value.reason is FailureReason.MODEL_INVALID
