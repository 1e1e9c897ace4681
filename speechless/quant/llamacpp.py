"""Quantize with llama.cpp: convert, round, read back, measure."""

from __future__ import annotations

import json
import logging
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from speechless.contract import FailureReason, GgufType, Metric
from speechless.errors import StageError
from speechless.generate import ModelFiles, ModelKind, find_model
from speechless.generate.llamacpp.tools import find_tool, run_tool, tail, thread_flags
from speechless.generate.perplexity import Perplexity, measure
from speechless.models.gguf import Tensor, read_header
from speechless.quant.convert import convert, follow

log = logging.getLogger(__name__)

UNQUANTIZED = {"F32", "F16", "BF16"}
BLOCK = {GgufType.F16: 1, GgufType.Q8_0: 32, GgufType.Q4_K_M: 256}
"""Weights that share a scale: a tensor's rows must be a multiple of it (ggml-common.h: QK8_0, QK_K)."""
STEPS = 100
"""Progress of each part: conversion, quantization, perplexity before, perplexity after."""

ROUNDED = re.compile(r"\[\s*(\d+)/\s*(\d+)\]")
"""llama-quantize's line for a tensor."""

Progress = Callable[[int, int, dict[str, float]], None]
Part = Callable[[int, int], None]


def quantize(
    *,
    model: Path,
    out: Path,
    type: GgufType,
    verify_text: Path | None,
    max_increase_percent: float | None,
    progress: Progress,
    stopping: Callable[[], bool],
    name: str | None = None,
    original: ModelFiles | None = None,
    source: Path | None = None,
) -> list[Metric]:
    """Make `out`: one GGUF file of the given type and `quantization.json`, and return what was measured.

    `model`: a Hugging Face folder, or a GGUF file (or a folder with one) that is not quantized yet. Metrics:
    `size/before` and `size/after` (bytes of weights), `tensors/fallback`, and with a text `perplexity/before`,
    `perplexity/after`, `perplexity/increase_percent`, and `speed/before`, `speed/after` (prompt tokens a second) where
    they are known.
    `name`: the beginning of the file's name; None: the model's. `original`: the Hugging Face folder that `model` was
    converted from, `source`: llama.cpp's; without llama-quantize, Q8_0 is made of these.
    `StageError`: `PERPLEXITY_INCREASED` above the limit, and then nothing was written to `out`.
    """
    files = find_model(model)
    total = STEPS * (4 if verify_text else 2)
    metrics: dict[str, float] = {"size/before": weight_bytes(files)}
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"{name or model.name.removesuffix('.gguf')}.{type.value}.gguf"

    def part(before: int) -> Part:
        """Progress of a part of the work, which begins after `before` steps."""
        return lambda done, of: (
            progress(before + STEPS * done // of, total, dict(metrics)) if done < of else None
        )

    with tempfile.TemporaryDirectory(dir=out, prefix=".quantize-") as scratch:
        plain = unquantized(files, Path(scratch) / "model.F16.gguf", progress=part(0), stopping=stopping)
        progress(STEPS, total, dict(metrics))
        made = Path(scratch) / target.name
        if type is GgufType.F16:
            made = plain
        else:
            round_to(
                plain,
                made,
                type,
                original=original or files,
                source=source,
                progress=part(STEPS),
                stopping=stopping,
            )
        metrics["size/after"] = made.stat().st_size
        fallback = fallbacks(made, type)
        metrics["tensors/fallback"] = len(fallback)
        progress(2 * STEPS, total, dict(metrics))
        if verify_text is not None:
            # F16 has nothing before it but the model itself; the others are compared with F16, by the same program.
            before = model if type is GgufType.F16 else plain
            metrics |= _compare(
                before,
                made,
                verify_text,
                lambda done: progress(2 * STEPS + done, total, dict(metrics)),
                stopping,
            )
            _refuse_above(metrics, max_increase_percent, type, verify_text)
        _place(made, target, keep=made == files.path)
    _report(out, type, target, fallback, metrics)
    progress(total, total, dict(metrics))
    return [Metric(name=name, value=value) for name, value in metrics.items()]


def weight_bytes(files: ModelFiles) -> int:
    """Bytes of a model's weights on disk."""
    if files.kind is ModelKind.GGUF:
        return files.path.stat().st_size
    weights = [*files.path.glob("*.safetensors"), *files.path.glob("pytorch_model*.bin")]
    return sum(file.stat().st_size for file in weights)


def unquantized(
    files: ModelFiles,
    target: Path,
    *,
    source: Path | None = None,
    progress: Part = lambda _done, _of: None,
    stopping: Callable[[], bool] = lambda: False,
) -> Path:
    """The model as a GGUF file of floats: converted to `target`, or the file itself where it is one already."""
    if files.kind is ModelKind.HUGGING_FACE:
        convert(files.path, target, source=source, progress=progress, stopping=stopping)
        return target
    types = set(read_header(files.path).types())
    if types - UNQUANTIZED:
        raise StageError(
            FailureReason.MODEL_INVALID,
            f"{files.path.name}: is quantized already ({', '.join(sorted(types - UNQUANTIZED))})",
            "Quantize from the original model: rounding twice loses more than once.",
        )
    return files.path


def round_to(
    plain: Path,
    target: Path,
    type: GgufType,
    *,
    original: ModelFiles,
    source: Path | None = None,
    progress: Part = lambda _done, _of: None,
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Quantize a GGUF file of floats into `target` with llama-quantize.

    Without it the converter makes Q8_0 of the `original` folder: the same types, from the model's own floats.
    """
    binary = find_tool("llama-quantize")
    if binary is not None:
        threads = thread_flags()[1:]  # their number alone, as its last word
        argv = [binary, plain, target, type.value, *threads]
        status, output = run_tool(argv, on_output=follow(ROUNDED, progress), stopping=stopping)
        if status != 0 or not target.is_file():
            raise StageError(
                FailureReason.MODEL_INVALID,
                f"{plain.name}: llama-quantize failed with exit status {status}\n{tail(output)}",
                "The last lines are its own log.",
            )
    elif type is GgufType.Q8_0 and original.kind is ModelKind.HUGGING_FACE:
        log.info("llama-quantize is not installed: the converter makes Q8_0 itself")
        convert(original.path, target, type=type, source=source, progress=progress, stopping=stopping)
    else:
        raise StageError(
            FailureReason.INPUT_NOT_FOUND,
            f"{type.value} of {original.path.name} needs llama-quantize, which is not installed",
            "Put llama.cpp's llama-quantize on the PATH, or its folder into SPEECHLESS_LLAMA_BIN; without it there is "
            "Q8_0 of a Hugging Face folder.",
        )
    read_header(target)


def fallbacks(model: Path, type: GgufType) -> list[Tensor]:
    """Tensors whose rows are no multiple of the type's block, so that llama.cpp chose a larger type. Warned about."""
    found = [
        tensor
        for tensor in read_header(model).tensors
        if len(tensor.shape) > 1 and tensor.shape[0] % BLOCK[type] != 0
    ]
    if found:
        log.warning(
            "%d tensors are not %s, because their rows are no multiple of %d, first %s: %s",
            len(found), type.value, BLOCK[type], found[0].name, found[0].type,
        )  # fmt: skip
    return found


@dataclass(frozen=True)
class _Both:
    before: Perplexity
    after: Perplexity

    def metrics(self) -> dict[str, float]:
        increase = (self.after.value / self.before.value - 1) * 100
        found = {
            "perplexity/before": self.before.value,
            "perplexity/after": self.after.value,
            "perplexity/increase_percent": increase,
            "speed/before": self.before.tokens_per_second,
            "speed/after": self.after.tokens_per_second,
        }
        return {name: value for name, value in found.items() if value is not None}


def _compare(
    before: Path, after: Path, text: Path, progress: Callable[[int], None], stopping: Callable[[], bool]
) -> dict[str, float]:
    first = measure(before, text, progress=lambda done, of: progress(STEPS * done // of), stopping=stopping)
    second = measure(
        after, text, progress=lambda done, of: progress(STEPS + STEPS * done // of), stopping=stopping
    )
    if (first.context, first.windows) != (second.context, second.windows):
        raise StageError(
            FailureReason.MODEL_INVALID,
            f"{text.name} has other tokens for {before.name} ({first.windows} windows of {first.context}) than for "
            f"{after.name} ({second.windows} of {second.context})",
            "llama.cpp does not tokenize like the model's own tokenizer; the GGUF file would answer differently.",
        )
    return _Both(first, second).metrics()


def _refuse_above(metrics: dict[str, float], limit: float | None, type: GgufType, text: Path) -> None:
    increase = metrics["perplexity/increase_percent"]
    if limit is not None and increase > limit:
        raise StageError(
            FailureReason.PERPLEXITY_INCREASED,
            f"{type.value}: perplexity on {text.name} rose from {metrics['perplexity/before']:.4f} to "
            f"{metrics['perplexity/after']:.4f}: by {increase:.2f} %, and {limit:g} % is allowed",
            "Take a larger type (Q8_0 loses least), or allow more.",
        )


def _place(made: Path, target: Path, *, keep: bool) -> None:
    """Bring the file to its place; a file that is the input itself is copied, not taken away."""
    if keep:
        shutil.copyfile(made, target)
    else:
        made.replace(target)


def _report(
    out: Path, type: GgufType, target: Path, fallback: list[Tensor], metrics: dict[str, float]
) -> None:
    """`quantization.json`: what the file's tensors really are. Speeds stay out: equal runs write equal bytes."""
    report = {
        "type": type.value,
        "file": target.name,
        "tensors": read_header(target).types(),
        "fallback": [
            {"name": tensor.name, "shape": list(tensor.shape), "type": tensor.type} for tensor in fallback
        ],
        "metrics": {name: value for name, value in metrics.items() if not name.startswith("speed/")},
    }
    (out / "quantization.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
