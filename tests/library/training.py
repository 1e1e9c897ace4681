"""A small training run for tests: in this process, where the trainer is tested, or as users have it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechless.contract import Hyperparameters, Lora, Method, Objective
from speechless.data import read_rows, survey
from speechless.data.tokenizer import load_tokenizer
from speechless.finetune import harness
from speechless.finetune.job import Job, Outcome, Rows, fingerprint
from speechless.finetune.run import Request
from speechless.finetune.tokens import Encoder, Encoding
from speechless.store import FolderCheckpoints

SETTINGS = Hyperparameters(learning_rate=5e-3, max_steps=12, max_length=64, per_device_train_batch_size=4)
ROWS: dict[Objective, list[dict[str, Any]]] = {
    Objective.SFT: [{"prompt": f"sum of {word}", "completion": f" return {word} (2)"} for word in "abcdefgh"],
    Objective.DPO: [
        {"prompt": f"sum of {word}", "chosen": f" return {word} (2)", "rejected": f" if not {word}"}
        for word in "abcdefgh"
    ],
    Objective.KTO: [
        {"prompt": f"sum of {word}", "completion": answer, "label": good}
        for word in "abcdefgh"
        for answer, good in ((f" return {word} (2)", True), (f" if not {word}", False))
    ],
    Objective.ORPO: [
        {"prompt": f"sum of {word}", "chosen": f" return {word} (2)", "rejected": f" if not {word}"}
        for word in "abcdefgh"
    ],
    Objective.REWARD: [
        {"prompt": f"sum of {word}", "chosen": f" return {word} (2)", "rejected": f" if not {word}"}
        for word in "abcdefgh"
    ],
    Objective.PRETRAIN: [{"text": f"sum of {word}\n    return {word} (2)\n" * 3} for word in "abcdefgh"],
}
IDENTITY = {"run": "this one"}


def write(rows: list[dict[str, Any]], file: Path) -> Path:
    """A file of rows."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def encoded(
    tokenizer: Path, file: Path, objective: Objective, heldout: float = 0, packing: bool = False
) -> Rows:
    """The rows of a file as numbers, made in this process."""
    data = survey(file, seed=0, eval_rows=heldout)
    encoder = Encoder(
        Encoding(tokenizer, objective, SETTINGS.max_length, packing=packing), load_tokenizer(tokenizer)
    )
    paths = {}
    for name in ("train", "heldout"):
        chunk = encoder.chunk(list(read_rows(data, heldout=name == "heldout")))
        paths[name] = file.with_name(f"{name}.arrow")
        # A chunk is the stream that a file of rows is.
        paths[name].write_bytes(chunk.batch)
        if name == "train":
            counts = chunk.counts
    return Rows(train=paths["train"], heldout=paths["heldout"] if heldout else None, counts=counts)


def _hyperparameters(more: dict[str, Any]) -> Hyperparameters:
    """Those of a test, which may say `eval_steps` alone."""
    given: Hyperparameters = more.get("hyperparameters", SETTINGS)
    return given.model_copy(update={"eval_steps": more.pop("eval_steps", given.eval_steps)})


def job(model: Path, folder: Path, objective: Objective, method: Method, **more: Any) -> Job:
    """A run in a folder of its own, taken up from what is there."""
    file = write(ROWS[objective], folder / "rows.jsonl")
    given = more["hyperparameters"] = _hyperparameters(more)
    newest = FolderCheckpoints(folder / "kept").newest(fingerprint(IDENTITY))
    rows = encoded(more.get("tokenizer") or model, file, objective, more.pop("heldout", 0), given.packing)
    settings = {
        "model": model, "rows": rows, "objective": objective,
        "method": method, "hyperparameters": SETTINGS, "lora": Lora(r=8, alpha=16), "out": folder / "out",
        "checkpoints": folder / "kept", "resume_from": newest.path if newest else None, "base_name": "base",
    }  # fmt: skip
    return Job(**(settings | more))


def request(model: Path, folder: Path, objective: Objective, method: Method, **more: Any) -> Request:
    """The same as users have it: rows and training in processes of their own."""
    file = write(ROWS[objective], folder / "rows.jsonl")
    (folder / "scratch").mkdir(exist_ok=True)
    more["hyperparameters"] = _hyperparameters(more)
    settings = {
        "model": model, "data": survey(file, seed=0), "digests": [file.read_text()], "objective": objective,
        "method": method, "hyperparameters": SETTINGS, "lora": Lora(r=8, alpha=16), "out": folder / "out",
        "checkpoints": FolderCheckpoints(folder / "kept"), "scratch": folder / "scratch", "rows": folder / "made",
        "base_name": "base", "identity": IDENTITY,
    }  # fmt: skip
    return Request(**(settings | more))


class Record:
    """Who started a run, and what it was told."""

    def __init__(self, folder: Path, stop_at: int = 0) -> None:
        """`stop_at`: ask the run to end as soon as this step was told."""
        self.values: list[dict[str, float]] = []
        self.kept = list[int]()
        self.step = 0
        self._checkpoints, self._stop_at = FolderCheckpoints(folder), stop_at

    def progress(self, step: int, total: int, values: Mapping[str, float]) -> None:
        """Note it."""
        self.step = step
        if values:
            self.values.append({"step": step, **values})

    def stopping(self) -> bool:
        """Whether to end."""
        return bool(self._stop_at) and self.step >= self._stop_at - 1

    def settled(self) -> None:
        """Nothing waits for it."""

    def keep(self, step: int, best: int | None) -> None:
        """Seal it."""
        self.kept.append(step)
        self._checkpoints.save(step, fingerprint(IDENTITY))
        self._checkpoints.prune(2, fingerprint(IDENTITY), () if best is None else (best,))

    def losses(self) -> list[float]:
        """Those of the steps."""
        return [values["loss"] for values in self.values if "loss" in values]


def run(wanted: Job, stop_at: int = 0) -> tuple[Record, Outcome]:
    """Train in this process."""
    told = Record(wanted.checkpoints, stop_at)
    return told, harness.train(wanted, told)


def digest(folder: Path) -> dict[str, str]:
    """SHA-256 of every file."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
