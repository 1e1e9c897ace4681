"""The files that a training run leaves in its output folder, by the names that task directories have used for years.

`checkpoint-<step>/adapter_model/` the adapter, `latest` a link to that checkpoint; with `--full_finetune` the model in
the folder itself. `trainer_log.jsonl` a line a step, `logs/` what a run with a label said, `train_results.json` and
`metrics.json` the numbers, `eval_results.json` those of the rows held out, `predictions.jsonl` answers to them,
`run.json` what the run is made of, `completed` written last.
"""

import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydantic import JsonValue

from speechless.contract import METHODS, FailureReason, Method
from speechless.errors import StageError
from speechless.finetune.job import Outcome
from speechless.output import Document
from speechless.store import checkpoints, locks

COMPLETED, LATEST, LOG, RESULTS, RUN = (
    "completed",
    "latest",
    "trainer_log.jsonl",
    "train_results.json",
    "run.json",
)
METRICS, EVALUATED = "metrics.json", "eval_results.json"
ADAPTER = "adapter_model"
PREDICTIONS = "predictions.jsonl"
"""Answers to the rows held out."""
LOGS = "logs"
_LOGGED = (
    "loss",
    "eval_loss",
    "learning_rate",
    "grad_norm",
    "epoch",
    "tokens_per_second",
    "mfu",
    "memory_gb",
)
_PARTIAL = ".partial"
_CHECKPOINT = re.compile(r"checkpoint-\d+")
"""What a run writes: a copy of one that somebody keeps as `checkpoint-good` is theirs."""
_LOCK = ".lock"


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
    def completed_before(self) -> bool:
        """Whether a version that left no `run.json` ended well here: nothing tells what its settings were."""
        return self.completed and not (self.folder / RUN).is_file()

    @property
    def partial(self) -> Path:
        """Where the result is written before it gets its place."""
        return self.folder / _PARTIAL

    @property
    def reports(self) -> Path:
        """Where trackers keep their files."""
        return self.folder / "runs"

    def log_file(self, task: str) -> Path:
        """Where the log of a run that begins now goes, by the run's label."""
        return self.folder / LOGS / f"{task}-{time.strftime('%Y%m%d-%H%M%S')}.log"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder and hold it: StageError(INVALID_SPEC) while another run does."""
        self.folder.mkdir(parents=True, exist_ok=True)
        handle = locks.take(self.folder / _LOCK, wait=False)
        if handle is None:
            what = f"{self.folder} is used by another run that is still going on"
            raise StageError(FailureReason.INVALID_SPEC, what, "wait for it, or choose another --output_dir")
        try:
            yield
        finally:
            os.close(handle)

    def refuse_foreign(self) -> None:
        """StageError(INVALID_SPEC) for checkpoints that no run of this program wrote here: they would be mixed up.

        One that is not whole is this program's if `run.json` is there: a run was killed while it wrote.
        """
        for path in sorted(self.folder.glob("checkpoint-*")):
            known = self.completed or (self.folder / RUN).is_file()
            if not known and not (path / checkpoints.MARKER).exists():
                what = f"{path} was not written by this program, or by a version that left no {RUN}"
                raise StageError(
                    FailureReason.INVALID_SPEC, what, "choose another --output_dir; nothing was changed"
                )

    def difference(self, identity: Mapping[str, JsonValue]) -> str:
        """What tells the run that left something here from this one, such as `hyperparameters`; empty: nothing."""
        try:
            before = json.loads((self.folder / RUN).read_bytes())
        except FileNotFoundError:
            return ""
        except ValueError:
            return f"{RUN} cannot be read"
        if not isinstance(before, dict):
            return f"{RUN} cannot be read"
        return ", ".join(_differing(before, dict(identity)))

    def begin(self, identity: Mapping[str, JsonValue], *, restart: bool) -> None:
        """Write down what the run is made of. `restart`: remove what an earlier run left, and nothing else."""
        if restart:
            for name in self._results():
                (self.folder / name).unlink(missing_ok=True)
            for path in self.folder.glob("checkpoint-*"):
                if _CHECKPOINT.fullmatch(path.name):
                    shutil.rmtree(path)
        shutil.rmtree(self.partial, ignore_errors=True)
        partial = self.folder / f".{RUN}"
        partial.write_text(json.dumps(dict(identity), indent=1, sort_keys=True) + "\n")
        os.replace(partial, self.folder / RUN)

    def _results(self) -> list[str]:
        """Names of what a run left here: `completed` first, so that what is half removed is not complete."""
        completed = self.folder / COMPLETED
        _, *files = completed.read_text().splitlines() if completed.is_file() else [""]
        return [COMPLETED, LATEST, LOG, RESULTS, RUN, *(Path(name).name for name in files)]

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
            **{name: values[name] for name in _LOGGED if name in values},
            "percentage": round(100 * step / total, 2) if total else 0,
            "elapsed_time": round(passed, 1),
            "remaining_time": round(passed * (total - step) / done, 1) if done else None,
        }
        with (self.folder / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def finish(self, outcome: Outcome, method: Method) -> Path:
        """Put the result into its place and mark the run as completed; the folder of the result."""
        files = []
        if not METHODS[method].adapters:
            for path in sorted(self.partial.iterdir()):
                os.replace(path, self.folder / path.name)
                files.append(path.name)
            self.partial.rmdir()
            result = self.folder
        else:
            checkpoint = self.folder / f"checkpoint-{outcome.steps}"
            checkpoint.mkdir(exist_ok=True)
            result = checkpoint / ADAPTER
            if (self.partial / PREDICTIONS).is_file():
                os.replace(self.partial / PREDICTIONS, self.folder / PREDICTIONS)
                files.append(PREDICTIONS)
            shutil.rmtree(result, ignore_errors=True)
            os.replace(self.partial, result)
            self._link(checkpoint.name)
        numbers = {metric.name: metric.value for metric in outcome.metrics}
        held = {name: value for name, value in numbers.items() if name.startswith("eval/")}
        for name, told in ((RESULTS, numbers), (METRICS, numbers), (EVALUATED, held)):
            if told:
                (self.folder / name).write_text(json.dumps(told, indent=1) + "\n")
                files.append(name)
        partial = self.folder / f".{COMPLETED}"
        partial.write_text("".join(f"{line}\n" for line in (outcome.steps, *files)))
        os.replace(partial, self.folder / COMPLETED)
        return result

    def summary(self, *, trained: bool) -> Summary:
        """What a completed run has left, from its files."""
        latest, results = self.folder / LATEST, self.folder / RESULTS
        steps = (self.folder / COMPLETED).read_text().partition("\n")[0].strip()
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


def _differing(before: Mapping[str, JsonValue], now: Mapping[str, JsonValue]) -> Iterator[str]:
    """Names of what is not the same, those of members with their members' names."""
    for name in sorted({*before, *now}):
        one, other = before.get(name), now.get(name)
        if one == other:
            continue
        if isinstance(one, dict) and isinstance(other, dict):
            yield from (f"{name}.{below}" for below in _differing(one, other))
        else:
            yield name
