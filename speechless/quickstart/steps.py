"""The chain as a list of commands: the documented ones, each as a person would type it."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

TASK = "tuned"
"""The task directory's name."""
TINY = {
    "NUM_TRAIN_EPOCHS": "1",
    "PER_DEVICE_TRAIN_BATCH_SIZE": "16",
    "GRADIENT_ACCUMULATION_STEPS": "1",
    "LEARNING_RATE": "3e-3",
    "MODEL_MAX_LENGTH": "128",
    "SAVE_STEPS": "50",
}
"""Settings that suit the tiny model; `task.env` takes them from the environment. A real model has the template's."""
PLACES = ("BASE_MODEL_PATH", "TEST_MODEL_PATH", "DATASET", "OUTPUT_DIR", "TASK_CHECKPOINT_DIR")
"""Of a task's settings: what the chain decides, whatever somebody has exported for a task of their own."""


def settings() -> list[str]:
    """The names of all settings of a task directory, from the template's `task.env`."""
    from speechless.finetune.tasks import ENV, find_template

    text = (find_template(None, {}) / ENV).read_text(encoding="utf-8")
    return re.findall(r"^([A-Z_]+)=", text, re.MULTILINE)


@dataclass(frozen=True)
class Step:
    """One command."""

    name: str
    text: str
    """What it does, for somebody who sees it for the first time."""
    words: tuple[str, ...]
    """After `python -m`."""
    made: tuple[Path, ...]
    """What is there when it is done; a step that leaves nothing here is always run."""
    env: Mapping[str, str] = field(default_factory=dict)
    kept: tuple[str, ...] = ()
    """Of what is made: what is never made anew. Of the others the whole folder is."""
    reads: tuple[Path, ...] = ()
    """Files whose change is a change of the step."""

    def argv(self) -> list[str]:
        """To run it."""
        return [sys.executable, "-m", *self.words]

    def shown(self) -> str:
        """To type it."""
        settings = [f"{name}={shlex.quote(value)}" for name, value in self.env.items()]
        return " ".join([*settings, "python -m", *(shlex.quote(word) for word in self.words)])


@dataclass(frozen=True)
class Chain:
    """What is done with which model; paths are relative to the folder in which everything is made."""

    model: Path
    dataset: tuple[Path, ...]
    problems: Path | None
    """None: HumanEval's own, where they are installed."""
    text: Path | None
    """What perplexity is measured on; None: it is not."""
    tiny: bool
    preset: str = "small"
    max_tokens: int = 512

    def steps(self) -> list[Step]:
        """In order."""
        merged = Path(TASK, "merged")
        return [
            *([self._tiny()] if self.tiny else []),
            self._evaluate("base", self.model, "score the base model: it has not learned the task yet"),
            Step(
                "init",
                "make a task directory: settings, scripts, a place for data",
                ("speechless.finetune", "init", "--task_name", TASK),
                (Path(TASK, "task.env"),),
                kept=("task.env",),
            ),
            Step(
                "fine-tune",
                "train LoRA adapters on the rows, checkpoint by checkpoint",
                ("speechless.finetune", "run", "--task_name", TASK),
                (Path(TASK, "outputs", "completed"),),
                env=self._settings(),
                reads=(Path(TASK, "task.env"),),
            ),
            Step(
                "merge",
                "merge the adapters into the base model",
                ("speechless.finetune", "merge", "--task_name", TASK),
                (merged / "config.json",),
                env={
                    "BASE_MODEL_PATH": str(Path("..", self.model))
                    if not self.model.is_absolute()
                    else str(self.model)
                },
            ),
            self._evaluate("tuned", merged, "score the tuned model on the same problems"),
            Step(
                "converter",
                "download llama.cpp's converter, which comes with no package",
                ("speechless.quant", "converter"),
                (),
            ),
            self._quantize(merged),
            self._evaluate("quantized", self.quantized(), "score the quantized file, as it will be served"),
        ]

    def quantized(self) -> Path:
        """The file that is served."""
        return Path(TASK, "merged-GGUF", "merged.Q8_0.gguf")

    def _tiny(self) -> Step:
        return Step(
            "base model",
            "train a tiny base model from nothing, and write the rows and problems of a made-up task",
            ("speechless.tiny", "make", "--out", "tiny", "--preset", self.preset),
            (Path("tiny", "tiny.json"),),
        )

    def _settings(self) -> dict[str, str]:
        def seen_from_the_task(path: Path) -> str:
            return str(path if path.is_absolute() else Path("..", path))

        found = {
            "BASE_MODEL_PATH": seen_from_the_task(self.model),
            "DATASET": ",".join(map(seen_from_the_task, self.dataset)),
        }
        exported = {name: os.environ[name] for name in settings() if os.environ.get(name)}
        asked = {name: value for name, value in exported.items() if name not in PLACES}
        return found | (TINY if self.tiny else {}) | asked

    def _evaluate(self, name: str, model: Path, text: str) -> Step:
        words = ["speechless.eval.humaneval", "--model", str(model), "--temperature", "0"]
        words += ["--max_len", str(self.max_tokens), "--output_dir", f"scores/{name}"]
        if self.problems is not None:
            words += ["--data", str(self.problems)]
        return Step(f"score {name}", text, tuple(words), (Path("scores", name, "humaneval_report.json"),))

    def _quantize(self, model: Path) -> Step:
        words = ["speechless.quant", "llamacpp", "--model_path", str(model), "--llamacpp_quant_type", "q8_0"]
        if self.text is not None:
            words += ["--verify_text", str(self.text)]
        return Step(
            "quantize",
            "convert to GGUF and round the weights to 8 bits"
            + ("; measure perplexity before and after" if self.text else ""),
            tuple(words),
            (self.quantized(), self.quantized().with_name("quantization.json")),
        )
