"""The same job gives the same bytes: seeds, algorithms that add in one order, threads.

PyTorch's notes on reproducibility: docs.pytorch.org/docs/stable/notes/randomness.html.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

import torch

from speechless.cpus import usable_cpus

if TYPE_CHECKING:
    from speechless.finetune.device import Device

log = logging.getLogger(__name__)


def settle(seed: int) -> None:
    """Seeds, deterministic algorithms where there are some, and threads by what the container may use."""
    from transformers import set_seed

    # cuBLAS reads it when it is loaded (NVIDIA cuBLAS documentation, "Results reproducibility").
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # It would also fill every new tensor, to show who reads one before writing it: a tenth of a step's time.
    torch.utils.deterministic.fill_uninitialized_memory = False
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(usable_cpus())
    set_seed(seed)


def strictly(trainer: Any, where: Device) -> None:
    """On a GPU, let every step of training take deterministic algorithms alone.

    Where PyTorch may warn instead, attention adds its gradients in any order although it could do otherwise. A model
    with an operation that has no deterministic algorithm is trained all the same, with a warning: every batch has the
    same operations, so the first one tells. What it left behind is taken back, and it is made again.
    """
    if where.name != "cuda":
        return
    made, strict, first = trainer.training_step, True, True

    def step(model: Any, *words: Any, **named: Any) -> Any:
        nonlocal strict, first
        torch.use_deterministic_algorithms(True, warn_only=not strict)
        try:
            return made(model, *words, **named)
        except RuntimeError as error:
            operation, missing, _ = str(error).partition(" does not have a deterministic implementation")
            if not (strict and first and missing):
                raise
            what = "%s has no deterministic algorithm: a run that is taken up again may differ in its last digits"
            log.warning(what, operation)
        finally:
            torch.use_deterministic_algorithms(True, warn_only=True)
            first = False
        strict = False
        model.zero_grad()
        return made(model, *words, **named)

    trainer.training_step = step
