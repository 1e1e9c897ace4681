"""The files that a training run leaves in its output folder, by the names that task directories have used for years.

`checkpoint-<step>/adapter_model/` the adapter, `latest` a link to that checkpoint; with `--full_finetune` the model in
the folder itself. `trainer_log.jsonl` a line a step, `train_results.json` the numbers, `completed` written last.
"""

import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from speechless.contract import Method
from speechless.finetune.job import Outcome
from speechless.output import Document

COMPLETED, LATEST, LOG, RESULTS = "completed", "latest", "trainer_log.jsonl", "train_results.json"
ADAPTER = "adapter_model"
_PARTIAL = ".partial"


class Summary(Document):
    """A completed run, as `-o json` prints it."""

    result: Path
    """The folder of the adapter; after a full fine-tune that of the model."""
    steps: int | None
    """Optimizer steps that were made in all; null where an older version left no number."""
    trained: bool
    """Whether this call trained; false: the run was complete already."""
    metrics: dict[str, float]
    """What is in `train_results.json`."""


class Outputs:
    """One output folder."""

    def __init__(self, folder: Path) -> None:
        """Take the folder; it need not be there."""
        self.folder = folder
        self._began = time.monotonic()
        self._first: int | None = None

    @property
    def completed(self) -> bool:
        """Whether a run ended well here."""
        return (self.folder / COMPLETED).is_file()

    @property
    def partial(self) -> Path:
        """Where the result is written before it gets its place."""
        return self.folder / _PARTIAL

    def prepare(self, *, restart: bool) -> None:
        """Make the folder; `restart`: without what an earlier run left (nothing but this run's own names)."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if restart:
            for name in (COMPLETED, LATEST, LOG, RESULTS):
                (self.folder / name).unlink(missing_ok=True)
            for path in self.folder.glob("checkpoint-*"):
                shutil.rmtree(path)
        shutil.rmtree(self.partial, ignore_errors=True)

    def step(self, step: int, total: int, values: Mapping[str, float]) -> None:
        """Add a line to the log; a step without values is none."""
        if not values:
            self._first = step
            return
        passed = time.monotonic() - self._began
        done = step - (self._first or 0)
        line = {
            "current_steps": step,
            "total_steps": total,
            **{
                name: values[name]
                for name in ("loss", "eval_loss", "learning_rate", "epoch")
                if name in values
            },
            "percentage": round(100 * step / total, 2) if total else 0,
            "elapsed_time": round(passed, 1),
            "remaining_time": round(passed * (total - step) / done, 1) if done else None,
        }
        with (self.folder / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def finish(self, outcome: Outcome, method: Method) -> Path:
        """Put the result into its place and mark the run as completed; the folder of the result."""
        if method is Method.FULL:
            for path in sorted(self.partial.iterdir()):
                os.replace(path, self.folder / path.name)
            self.partial.rmdir()
            result = self.folder
        else:
            checkpoint = self.folder / f"checkpoint-{outcome.steps}"
            checkpoint.mkdir(exist_ok=True)
            result = checkpoint / ADAPTER
            shutil.rmtree(result, ignore_errors=True)
            os.replace(self.partial, result)
            self._link(checkpoint.name)
        numbers = {metric.name: metric.value for metric in outcome.metrics}
        (self.folder / RESULTS).write_text(json.dumps(numbers, indent=1) + "\n")
        (self.folder / COMPLETED).write_text(f"{outcome.steps}\n")
        return result

    def summary(self, *, trained: bool) -> Summary:
        """What a completed run has left, from its files."""
        latest, results = self.folder / LATEST, self.folder / RESULTS
        steps = (self.folder / COMPLETED).read_text().strip()
        return Summary(
            result=latest.resolve() / ADAPTER if latest.exists() else self.folder.resolve(),
            steps=int(steps) if steps.isdecimal() else None,
            trained=trained,
            metrics=json.loads(results.read_text()) if results.is_file() else {},
        )

    def _link(self, name: str) -> None:
        link = self.folder / f".{LATEST}"
        link.unlink(missing_ok=True)
        link.symlink_to(name)
        os.replace(link, self.folder / LATEST)
