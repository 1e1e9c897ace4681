"""A model with Liger's kernels and without, in Triton's interpreter: `python -m tests.library.liger_on_cpu JOB`.

The interpreter of Triton 3.7 lacks two things that the kernels use: numbers that are no tensors, and libdevice. They
are given to it here. The kernels themselves are what a GPU would be given.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy
import torch
import triton.language as tl
from triton.runtime import interpreter

from speechless.finetune.job import Job
from speechless.finetune.recipes import RECIPES


def main(file: Path) -> None:
    """Print the kinds of layers, and the largest differences of logits and gradients."""
    job = Job.model_validate_json(file.read_bytes())
    plain = _said(job.model_copy(update={"hyperparameters": _with(job, use_liger_kernel=False)}))
    _mend()
    fused = _said(job)
    told = {
        "layers": sorted({str(layer) for layer in fused[0]} - {str(layer) for layer in plain[0]}),
        "logits": float((plain[1] - fused[1]).abs().max()),
        "gradients": max(float((plain[2][name] - fused[2][name]).abs().max()) for name in plain[2]),
        "largest": max(float(gradient.abs().max()) for gradient in plain[2].values()),
    }
    print(json.dumps(told))


def _with(job: Job, **settings: Any) -> Any:
    return job.hyperparameters.model_copy(update=settings)


def _said(job: Job) -> tuple[set[str], torch.Tensor, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    model = RECIPES[job.objective].load().model(job, torch.float32)
    ids = torch.arange(10, 42)[None]
    said = model(input_ids=ids, labels=ids)
    said.loss.backward()
    layers = {module.forward.__func__.__module__ for module in model.modules()}
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return layers, said.logits.detach(), gradients


def _mend() -> None:
    import liger_kernel.ops.rms_norm

    whole = interpreter._implicit_cvt

    def cvt(value: Any) -> Any:
        if isinstance(value, float):
            return tl.tensor(
                interpreter.TensorHandle(numpy.array([value], numpy.float32), tl.float32), tl.float32
            )
        return whole(value)

    def rsqrt(number: Any) -> Any:
        return tl.math.rsqrt(number)  # looked up here: the interpreter has put its own there

    interpreter._implicit_cvt = cvt
    liger_kernel.ops.rms_norm.rsqrt = rsqrt


if __name__ == "__main__":
    main(Path(sys.argv[1]))
