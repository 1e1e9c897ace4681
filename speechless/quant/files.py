"""What the command line makes: an F16 file that is kept for the next type, the quantized file, and their names."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from speechless.contract import GgufType, Metric, ProgressPhase
from speechless.errors import StageError
from speechless.generate import ModelFiles, ModelKind, find_model
from speechless.models.gguf import read_header
from speechless.progress import showing
from speechless.quant.convert import convert
from speechless.quant.llamacpp import quantize

log = logging.getLogger(__name__)


class Made(NamedTuple):
    """What there is now."""

    plain: Path
    """The GGUF file of floats."""
    quantized: Path
    """The quantized one; of type F16 the same file."""
    metrics: tuple[Metric, ...]


def llamacpp(
    *,
    model: Path,
    name: str,
    type: GgufType,
    folder: Path,
    f16_file: Path | None,
    source: Path | None,
    verify_text: Path | None,
    max_increase_percent: float | None,
) -> Made:
    """Convert (unless the F16 file is there), quantize, print paths and numbers; `name` begins the files' names."""
    files = find_model(model)
    with showing() as reporter:
        reporter.enter(ProgressPhase.WORKING, f"converting {name} to F16")
        plain = f16_of(files, f16_file or folder / f"{name}.f16.gguf", source, reporter.progress)
    print(f"f16:       {plain}")
    if type is GgufType.F16:
        return Made(plain, plain, ())
    with showing() as reporter:
        reporter.enter(ProgressPhase.WORKING, f"quantizing {name} to {type.value}")
        metrics = quantize(
            model=plain,
            out=folder,
            type=type,
            verify_text=verify_text,
            max_increase_percent=max_increase_percent,
            progress=lambda done, total, _metrics: reporter.progress(done, total),
            stopping=reporter.stopping,
            name=name,
            original=files,
            source=source,
        )
    target = folder / f"{name}.{type.value}.gguf"
    print(f"quantized: {target}")
    for metric in metrics:
        print(f"{metric.name:<28} {metric.value:.4f}")
    return Made(plain, target, tuple(metrics))


def f16_of(
    files: ModelFiles, target: Path, source: Path | None, progress: Callable[[int, int], None]
) -> Path:
    """The model as F16 GGUF: the model itself if it is a GGUF file, a whole file from before, or converted now."""
    if files.kind is ModelKind.GGUF:
        return files.path
    if target.is_file():
        try:
            read_header(target)
        except StageError as problem:
            log.warning("%s; it is made anew", problem)
        else:
            log.info("%s is there already and is used again", target)
            return target
    convert(files.path, target, source=source, progress=progress)
    return target
