"""What the command line makes: an F16 file that is kept for the next type, the quantized file, and their names."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from speechless.contract import GgufType
from speechless.errors import StageError
from speechless.generate import ModelFiles, ModelKind, find_model
from speechless.generate.llamacpp.gguf import read_header
from speechless.quant.convert import convert
from speechless.quant.llamacpp import quantize

log = logging.getLogger(__name__)


def llamacpp(
    *,
    model: Path,
    type: GgufType,
    folder: Path | None,
    f16_file: Path | None,
    source: Path | None,
    verify_text: Path | None,
    max_increase_percent: float | None,
) -> Path:
    """Convert (unless the F16 file is there), quantize, print paths and numbers; returns the quantized file."""
    files = find_model(model)
    name = model.resolve().name.removesuffix(".gguf")
    folder = folder or model.resolve().with_name(f"{name}-GGUF")
    plain = f16_of(files, f16_file or folder / f"{name}.f16.gguf", source)
    print(f"f16:       {plain}")
    if type is GgufType.F16:
        return plain
    metrics = quantize(
        model=plain,
        out=folder,
        type=type,
        verify_text=verify_text,
        max_increase_percent=max_increase_percent,
        progress=_tell(),
        stopping=lambda: False,
        name=name,
        original=files,
        source=source,
    )
    target = folder / f"{name}.{type.value}.gguf"
    print(f"quantized: {target}")
    for metric in metrics:
        print(f"{metric.name:<28} {metric.value:.4f}")
    return target


def _tell() -> Callable[[int, int, dict[str, float]], None]:
    """Log every tenth that is reached."""
    told = -1

    def tell(done: int, total: int, _metrics: dict[str, float]) -> None:
        nonlocal told
        if (tenth := 10 * done // total) > told:
            told = tenth
            log.info("%d %%", 10 * tenth)

    return tell


def f16_of(files: ModelFiles, target: Path, source: Path | None) -> Path:
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
    convert(files.path, target, source=source)
    return target
