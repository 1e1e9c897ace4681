"""The command `python -m benchmarks.train`: our training and a plain TRL script of the same settings, in turn.

Each runs as its users start it, in a process of its own, several rounds: from the command to the saved result. The
table has the median seconds, the memory of all its processes at their peak, and how many times faster ours is.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.train.shapes import SHAPES, make


@dataclass(frozen=True)
class Case:
    """What is trained."""

    name: str
    objective: str = "sft"
    method: str = "lora"
    packing: bool = False


CASES = (
    Case("SFT, LoRA"),
    Case("SFT, Full", method="full"),
    Case("SFT, LoRA, packed", packing=True),
    Case("DPO, LoRA", objective="dpo"),
    Case("DPO, Full", objective="dpo", method="full"),
)


@dataclass
class Taken:
    """The rounds of one side."""

    seconds: list[float] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)
    """Steps a second from the first to the last, of each round."""
    peak: int = 0
    """Bytes of memory, the highest of all rounds."""
    gpu: int = 0
    """Bytes of the GPU's memory, likewise; 0: there is no GPU."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.train", description=__doc__, allow_abbrev=False)
    shown = " (default: %(default)s)"
    made.add_argument("--steps", type=int, default=150, help="optimizer steps" + shown)
    made.add_argument("--batch", type=int, default=16, help="rows a step" + shown)
    made.add_argument("--rows", type=int, default=2000, help="rows of the dataset" + shown)
    made.add_argument("--length", type=int, default=128, help="tokens of a row at most" + shown)
    made.add_argument("--rounds", type=int, default=3, help="rounds of each side" + shown)
    made.add_argument(
        "--model", type=Path, help="a Hugging Face folder (default: the tiny model of speechless.tiny)"
    )
    made.add_argument(
        "--shape", choices=SHAPES, help="a Llama of this size with random weights, made for it, instead"
    )
    made.add_argument("--words", type=int, default=40, help="words of an answer at most" + shown)
    made.add_argument("--only", help="cases whose name has this in it")
    made.add_argument(
        "--trl-defaults",
        action="store_true",
        help="leave precision and gradient checkpointing as TRL has them",
    )
    made.add_argument("--json", type=Path, help="write the numbers to this file, too")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    given = parser().parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="bench-train-") as folder:
        return measure(Path(folder), given)


def measure(folder: Path, given: argparse.Namespace) -> int:
    """Every case, both sides in turn."""
    model = given.model or (make(folder / "model", given.shape) if given.shape else tiny(folder / "tiny"))
    told = []
    for case in CASES:
        if given.only and given.only not in case.name:
            continue
        rows = write(folder / f"{case.objective}.jsonl", case, given.rows, given.words)
        sides = {"ours": Taken(), "TRL": Taken()}
        for number in range(given.rounds):
            names = list(sides) if number % 2 == 0 else list(sides)[::-1]
            for name in names:
                argv = command(name, case, model, rows, folder / "out", given)
                once(sides[name], argv, folder)
                sides[name].steps.append(speed(name, folder))
                shutil.rmtree(folder / "out")
                # Ours keeps rows as tokens for the next run; here each run makes them, as TRL's does.
                shutil.rmtree(folder / "cache", ignore_errors=True)
        ours, theirs = (statistics.median(side.seconds) for side in sides.values())
        told.append(
            {
                "case": case.name,
                "ours": asdict(sides["ours"]),
                "trl": asdict(sides["TRL"]),
                "faster": theirs / ours,
            }
        )
        memory = " against ".join(f"{side.peak / 1e9:.2f} GB" for side in sides.values())
        if any(side.gpu for side in sides.values()):
            memory += "; GPU " + " against ".join(f"{side.gpu / 1e9:.2f} GB" for side in sides.values())
        first, second = (statistics.median(side.steps) for side in sides.values())
        print(
            f"{case.name:20} {ours:7.1f} s against {theirs:7.1f} s: {theirs / ours:.2f} times; "
            f"{first:.2f} against {second:.2f} steps a second: {first / second:.2f} times; {memory}",
            flush=True,
        )
    if given.json:
        given.json.write_text(json.dumps(told, indent=1) + "\n")
    return 0


def tiny(folder: Path) -> Path:
    """The project's tiny model, trained a little."""
    argv = ["-m", "speechless.tiny", "make", "--out", str(folder), "--steps", "2", "--rows", "50"]
    subprocess.run([sys.executable, *argv], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return folder / "base"


def write(file: Path, case: Case, count: int, most: int) -> Path:
    """Rows of ten to `most` and twenty words, always the same."""
    chance, words = random.Random(7), ["def", "return", "for", "x", "list", "sum", "sorted", "if", "not", "n"]

    def text(least: int, most: int) -> str:
        return " ".join(chance.choices(words, k=chance.randint(least, most)))

    with file.open("w") as out:
        for _ in range(count):
            row = {"prompt": text(5, 20) + "\n"}
            if case.objective == "dpo":
                row |= {"chosen": text(5, most), "rejected": text(5, most)}
            else:
                row |= {"completion": text(5, most)}
            out.write(json.dumps(row) + "\n")
    return file


def command(
    side: str, case: Case, model: Path, rows: Path, out: Path, given: argparse.Namespace
) -> list[str]:
    """What a user of that side starts."""
    rate = "1e-4" if case.method == "lora" else "1e-5"
    if side == "TRL":
        told: dict[str, Any] = {
            "model": str(model), "rows": str(rows), "out": str(out), "objective": case.objective,
            "method": case.method, "packing": case.packing, "steps": given.steps, "batch": given.batch,
            "rate": float(rate), "length": given.length, "defaults": given.trl_defaults,
        }  # fmt: skip
        return [sys.executable, "-m", "benchmarks.train.plain", json.dumps(told)]
    return [
        *(sys.executable, "-m", "speechless.finetune.finetune", "--model_name_or_path", str(model)),
        *("--dataset", str(rows), "--output_dir", str(out), "--objective", case.objective),
        *("--max_steps", str(given.steps), "--per_device_train_batch_size", str(given.batch)),
        *("--gradient_accumulation_steps", "1", "--learning_rate", rate, "--max_grad_norm", "1"),
        *("--model_max_length", str(given.length), "--eval_dataset_size", "0", "--save_steps", "0"),
        *(["--full_finetune"] if case.method == "full" else ["--lora_r", "16", "--lora_alpha", "32"]),
        *(["--packing"] if case.packing else []),
    ]


def once(taken: Taken, argv: list[str], folder: Path) -> None:
    """One run; its memory is that of all its processes together, looked at 20 times a second."""
    environment = os.environ | {
        "XDG_CACHE_HOME": str(folder / "cache"),
        "HF_DATASETS_CACHE": str(folder / "cache"),
    }
    with (folder / "log").open("w") as log, gpu_memory() as gpu:
        began = time.monotonic()
        process = subprocess.Popen(argv, env=environment, stdout=log, stderr=subprocess.STDOUT)
        while process.poll() is None:
            taken.peak = max(taken.peak, memory(process.pid))
            time.sleep(0.05)
        taken.seconds.append(time.monotonic() - began)
    taken.gpu = max(taken.gpu, *gpu)
    if process.returncode:
        sys.exit(f"{' '.join(argv)}\n{(folder / 'log').read_text()[-3000:]}")


def speed(side: str, folder: Path) -> float:
    """Steps a second, without the first one: what it compiles and loads is no part of training."""
    if side == "TRL":
        told = json.loads((folder / "log").read_text().splitlines()[-1])
        return float(told["steps_per_second"])
    lines = [json.loads(line) for line in (folder / "out" / "trainer_log.jsonl").read_text().splitlines()]
    first, last = lines[0], lines[-1]
    return (last["current_steps"] - first["current_steps"]) / (last["elapsed_time"] - first["elapsed_time"])


@contextlib.contextmanager
def gpu_memory() -> Iterator[list[int]]:
    """Bytes of the first GPU's memory in use, looked at ten times a second; [0] without nvidia-smi."""
    found = [0]
    if shutil.which("nvidia-smi") is None:
        yield found
        return
    argv = [
        "nvidia-smi",
        "--query-gpu=memory.used",
        "--format=csv,noheader,nounits",
        "-i",
        "0",
        "-lms",
        "100",
    ]
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(argv, stdout=out)
        yield found
        process.terminate()
        process.wait()
        out.seek(0)
        found += [int(line) << 20 for line in out.read().splitlines() if line.strip().isdigit()]


def memory(root: int) -> int:
    """Bytes of a process and of all below it that nobody else has (proc(5), `smaps_rollup`: proportional)."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, waiting = 0, [root]
    while waiting:
        pid = waiting.pop()
        waiting += children.get(pid, [])
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        found += sum(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("Pss:"))
    return found


if __name__ == "__main__":
    sys.exit(main())
