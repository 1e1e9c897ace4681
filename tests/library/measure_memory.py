"""A process that trains a little and says how its memory grew: `python -m tests.library.measure_memory JSON`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from speechless.contract import Experts, Hyperparameters, Method, Objective
from speechless.finetune import harness, memory, sizes, watch
from tests.library import random_model, training


def main(told: str) -> None:
    """Print what is measured and estimated, with and without the allocator, beyond the libraries; and these. Bytes."""
    wanted = json.loads(told)
    objective, method = Objective(wanted["objective"]), Method(wanted["method"])
    harness.load()
    # What is loaded, and what libraries keep from then on, is there after a run of next to nothing.
    _train(
        objective,
        method,
        Path(wanted["folder"], "first"),
        wanted | {"hidden": 32, "length": 8, "batch": 2, "vocabulary": 0},
    )
    before = watch.peak_memory()
    parts = _train(objective, method, Path(wanted["folder"], "second"), wanted)
    estimated = sum(size for name, size in parts.items() if name != "libraries")
    live = estimated - parts["allocator"]
    print(
        json.dumps(
            {
                "measured": watch.peak_memory() - before,
                "estimated": estimated,
                "live": live,
                "libraries": before,
            }
        )
    )


def _train(objective: Objective, method: Method, folder: Path, wanted: dict[str, Any]) -> dict[str, int]:
    """Train two steps; the parts of the estimate."""
    model = random_model.make(folder / "model", hidden=wanted["hidden"], vocabulary=wanted["vocabulary"])
    words = " ".join(["return x of the list"] * 100)
    training.ROWS[objective] = [row | dict.fromkeys(_long(row), words) for row in training.ROWS[objective]]
    if objective is Objective.DPO:
        training.ROWS[objective] = [row | {"rejected": f"x {words}"} for row in training.ROWS[objective]]
    training.SETTINGS = settings = Hyperparameters(
        max_steps=2, max_length=wanted["length"], per_device_train_batch_size=wanted["batch"],
        gradient_checkpointing=wanted["checkpointing"],
    )  # fmt: skip
    experts = Experts() if wanted.get("experts") else None
    job = training.job(model, folder, objective, method, hyperparameters=settings, experts=experts)
    harness.train(job, training.Record(job.checkpoints))
    shape = sizes.shape_of(model)
    asked = memory.Training(
        shape,
        objective,
        method,
        "fp32",
        settings,
        job.lora,
        wanted["length"],
        cuda=False,
        held=job.held,
        experts=experts,
    )
    return {part.name: part.bytes for part in memory.components(asked)}


def _long(row: dict[str, object]) -> list[str]:
    return [name for name in row if name in ("completion", "chosen", "text")]


if __name__ == "__main__":
    main(sys.argv[1])
