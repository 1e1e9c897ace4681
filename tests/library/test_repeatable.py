"""Steps on a GPU take deterministic algorithms alone, and a model that cannot is trained all the same."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from speechless.finetune import repeatable
from speechless.finetune.device import Device

GPU = Device("cuda", bf16=True)
TOLD = "cumsum_cuda_kernel does not have a deterministic implementation, but you set ..."


def trainer_of(message: str = TOLD) -> tuple[Any, list[bool]]:
    """A trainer whose steps note whether PyTorch is strict, and fail, if they are to, where it is."""
    noted: list[bool] = []

    def step(model: torch.nn.Linear, fail: bool) -> float:
        strict = not torch.is_deterministic_algorithms_warn_only_enabled()
        noted.append(strict)
        model(torch.ones(1, 2)).sum().backward()
        if fail and strict:
            raise RuntimeError(message)
        return 1.0

    return SimpleNamespace(training_step=step), noted


@pytest.fixture(autouse=True)
def as_it_was() -> Any:
    yield
    torch.use_deterministic_algorithms(False)


def test_only_steps_are_strict() -> None:
    trainer, noted = trainer_of()
    repeatable.settle(1)
    repeatable.strictly(trainer, GPU)
    model = torch.nn.Linear(2, 1)
    assert trainer.training_step(model, False) == 1
    assert noted == [True]
    assert torch.is_deterministic_algorithms_warn_only_enabled()


def test_an_operation_without_such_an_algorithm_is_told_and_the_step_is_made_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    trainer, noted = trainer_of()
    repeatable.strictly(trainer, GPU)
    model = torch.nn.Linear(2, 1)
    with caplog.at_level(logging.WARNING):
        assert trainer.training_step(model, True) == 1
    assert "cumsum_cuda_kernel has no deterministic algorithm" in caplog.text
    # What the failed attempt left is gone: the gradient is that of one step.
    assert model.weight.grad is not None
    assert model.weight.grad.tolist() == [[1.0, 1.0]]
    assert trainer.training_step(model, True) == 1
    assert noted == [True, False, False]


@pytest.mark.parametrize(
    ("first", "message"), [(True, "CUDA error: an illegal memory access"), (False, TOLD)]
)
def test_other_errors_end_the_run(first: bool, message: str) -> None:
    trainer, noted = trainer_of(message)
    repeatable.strictly(trainer, GPU)
    model = torch.nn.Linear(2, 1)
    if not first:
        trainer.training_step(model, False)
    with pytest.raises(RuntimeError):
        trainer.training_step(model, True)
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert noted == [True] * (1 if first else 2)


def test_on_a_cpu_nothing_is_changed() -> None:
    trainer, _ = trainer_of()
    before = trainer.training_step
    repeatable.strictly(trainer, Device("cpu", bf16=False))
    assert trainer.training_step is before
