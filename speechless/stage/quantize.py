"""The stage `quantize`: make a model smaller and measure what it lost."""

from collections.abc import Mapping
from pathlib import Path

from speechless.contract import Format, QuantizeSpec, Source, Verify
from speechless.data.splits import one_file
from speechless.progress import Reporter
from speechless.stage.frame import Definition, StageOutput
from speechless.store import Opened
from speechless.store.words import DataPart


def sources(spec: QuantizeSpec) -> Mapping[str, Source]:
    """The model, and the text to measure it with."""
    return {"model": spec.model} | ({"verify": spec.verify.text} if spec.verify else {})


def work(spec: QuantizeSpec, inputs: Mapping[str, Opened], folder: Path, reporter: Reporter) -> StageOutput:
    """Convert, quantize, and measure the perplexity before and after."""
    from speechless.quant.llamacpp import quantize

    model = inputs["model"]
    out = folder / "quantized"
    out.mkdir()
    metrics = quantize(
        model=model.path,
        out=out,
        type=spec.type,
        verify_text=_text(spec.verify, inputs["verify"], folder / "data") if spec.verify else None,
        max_increase_percent=spec.verify.max_perplexity_increase_percent if spec.verify else None,
        progress=reporter.progress,
        stopping=reporter.stopping,
    )
    reporter.check()
    return StageOutput(out, Format.GGUF, metrics)


def _text(verify: Verify, opened: Opened, into: Path) -> Path:
    """The text, made of a dataset's rows if a part of one is asked for."""
    part = DataPart(verify.text.config, verify.text.split)
    return one_file(opened.path, part, verify.text.uri, into, text=True)


STAGE = Definition(sources, work, packages=("torch", "transformers", "gguf", "xllamacpp"))
