"""All of it into a folder: base model, training rows, held-out problems, text, and how they were made."""

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from speechless.contract import ProgressPhase
from speechless.openmp import settle_threads
from speechless.progress import Reporter
from speechless.tiny import pretrain, sets, tokenizer

RECORD = "tiny.json"
"""Written last: the settings. A folder that has it is whole."""
PARTS = ("base", "train.jsonl", "heldout.jsonl", "text.txt")


@dataclass(frozen=True)
class Settings:
    """What decides every byte that is made, on one machine."""

    seed: int = 0
    steps: int = 500
    """Of the base model's training."""
    rows: int = 7000
    problems: int = 100


PRESETS = {
    "full": Settings(),
    "quick": Settings(steps=300, rows=4000, problems=100),
    "small": Settings(steps=150, rows=2000, problems=40),
}


class OccupiedError(Exception):
    """The folder holds something that this would overwrite."""


def is_made(out: Path, settings: Settings) -> bool:
    """Whether the folder holds what these settings make; OccupiedError if it holds something else of the same names."""
    record = out / RECORD
    if record.is_file() and json.loads(record.read_text()) == asdict(settings):
        return True
    there = [name for name in (RECORD, *PARTS) if (out / name).exists()]
    if there:
        raise OccupiedError(
            f"{out} holds {there[0]}, made by other settings or something else: remove it first"
        )
    return False


def make(out: Path, settings: Settings, reporter: Reporter) -> None:
    """Make everything in a hidden folder and move it into place at the end: what has its name is whole.

    A folder that is not there yet appears at once; in one that is (a volume's root), the parts do, `tiny.json` last.
    """
    partial = out / ".partial" if out.exists() else out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    reporter.enter(
        ProgressPhase.WORKING, f"writing {settings.rows} training rows, {settings.problems} held-out problems"
    )
    seed = settings.seed
    _write_lines(partial / "train.jsonl", sets.training_rows(settings.rows, seed))
    _write_lines(partial / "heldout.jsonl", sets.heldout_problems(settings.problems, seed))
    (partial / "text.txt").write_text(sets.perplexity_text(seed))
    _base_model(partial / "base", settings, reporter)
    (partial / RECORD).write_text(json.dumps(asdict(settings), indent=1) + "\n")
    if partial.parent != out:
        os.replace(partial, out)
        return
    for name in (*PARTS, RECORD):
        os.replace(partial / name, out / name)
    partial.rmdir()


def _base_model(folder: Path, settings: Settings, reporter: Reporter) -> None:
    settle_threads()
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    words = tokenizer.build(settings.seed)
    model = pretrain.build(words, settings.seed)
    size = sum(weight.numel() for weight in model.parameters())
    reporter.enter(ProgressPhase.WORKING, f"training a base model of {size:,} parameters")
    pretrain.train(
        model,
        words,
        settings.steps,
        settings.seed,
        lambda step, steps, loss: reporter.progress(step, steps, {"loss": loss}),
    )
    model.generation_config.update(
        bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id
    )
    model.save_pretrained(folder)
    words.save_pretrained(folder)


def _write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")
