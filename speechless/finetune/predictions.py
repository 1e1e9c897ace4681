"""Answers of the trained model to the rows held out, for a person to read: `predictions.jsonl`. Imports torch."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from speechless.finetune.outputs import PREDICTIONS
from speechless.generate import Sampling
from speechless.generate.hf import HuggingFace

if TYPE_CHECKING:
    from speechless.finetune.device import Device
    from speechless.finetune.harness import Run

log = logging.getLogger(__name__)


def write(
    run: Run,
    model: Any,
    asked: Callable[[Any], tuple[list[int], list[int]]],
    where: Device,
    stopping: Callable[[], bool],
) -> None:
    """A line a row held out, in its order: `prompt` and `reference` as in the row, `prediction`, `finish_reason`.

    `asked`: the recipe's. The answers of a run are the same each time it is made, also with a temperature.
    StageError(INTERRUPTED) when `stopping` says so; then no file is written.
    """
    how = run.job.extras.predict
    assert how is not None
    assert run.heldout is not None
    pairs = [asked(columns) for columns in run.heldout]
    log.info("answering %d rows held out", len(pairs))
    sampling = Sampling(how.max_new_tokens, how.temperature, how.top_p, seed=run.job.hyperparameters.seed)
    batch = run.job.hyperparameters.per_device_train_batch_size
    with (
        HuggingFace.around(model, run.tokenizer, batch_size=batch) as generator,
        torch.autocast(where.name, torch.bfloat16, enabled=where.bf16),
    ):
        answers = generator.continued([prompt for prompt, _ in pairs], sampling, stopping=stopping)
    with (run.job.out / PREDICTIONS).open("w", encoding="utf-8") as file:
        for (prompt, reference), answer in zip(pairs, answers, strict=True):
            line = {
                "prompt": run.tokenizer.decode(prompt),
                "prediction": answer.text,
                "reference": run.tokenizer.decode(reference, skip_special_tokens=True),
                "finish_reason": answer.finish_reason,
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
