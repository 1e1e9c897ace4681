"""The engines that serve models: a table, and what follows from it.

A new engine is a row here, a function of speechless/api/engines.py that makes its command, and an image. The
CustomResourceDefinition and its rules, the operator's image flag, the Deployment's port and probes are made from it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from speechless.contract.artifact import Format
from speechless.contract.llamacpp import ARGUMENTS, RESERVED
from speechless.contract.model import Rule
from speechless.contract.modelinfo import GGUF

_NUMBER = "^-[0-9]+([.][0-9]+)?$"


class ServeEngine(StrEnum):
    """Names that code refers to. What there is, is in `ENGINES`."""

    LLAMA_CPP = "LlamaCpp"
    TRANSFORMERS = "Transformers"


@dataclass(frozen=True)
class Engine:
    """An engine. What guards something has no default: whoever adds a row has to decide it."""

    name: str
    """As `spec.engine` says it."""
    text: str
    """What it is, in one line."""
    formats: tuple[Format, ...]
    """The formats of artifacts that it serves."""
    quantizations: tuple[str, ...]
    """The methods of quantization (`QuantizationInfo.method`) whose weights it serves, beside those that are not
    quantized: what the packages of its image read, and nothing that was not tried."""
    image: str
    """The folder of images/ that it comes in, and the name of the operator's flag: `--image-<image>`."""
    offered: bool
    """Whether a resource may name it: the operator has an image for it."""
    needs_gpu: bool
    """Whether it cannot serve without a GPU."""
    arguments: dict[str, bool]
    """The allow list of `engineArgs`: a flag, and whether a value follows it. Nothing that changes which model answers,
    reads or writes a file, opens a port, sets a key or runs a program."""
    reserved: tuple[str, ...]
    """Flags that the stage sets itself. Named in a message of their own."""
    environment: tuple[str, ...]
    """Beginnings of variables that the engine would take arguments from; they are kept from it."""
    port: int = 8080
    """Where it listens in a pod."""
    health_path: str = "/health"
    """Answers 200 when the model is loaded."""
    metrics_path: str = "/metrics"
    """Prometheus' text format."""
    drain_seconds: int = 45
    """How long requests that are under way at SIGTERM may take to finish, where a service does not say."""

    def problem_of(self, arguments: Sequence[str]) -> str | None:
        """What is wrong with a list of arguments, and what is allowed; None if nothing is."""
        words = iter(arguments)
        for word in words:
            if word in self.reserved:
                return f"{word} is set by the operator: remove it"
            if word not in self.arguments:
                return f"{word} is not allowed for engine {self.name}; allowed: {self.allowed()}"
            if self.arguments[word]:
                value = next(words, None)
                if value is None or (value.startswith("-") and not re.match(_NUMBER, value)):
                    return f"{word} needs a value after it, as an item of its own"
        return None

    def allowed(self) -> str:
        """The allow list for a message."""
        return ", ".join(word for word in self.arguments if word.startswith("--"))


ENGINES: dict[str, Engine] = {
    row.name: row
    for row in (
        Engine(
            name="LlamaCpp",
            text="llama.cpp's server, for GGUF.",
            formats=(Format.GGUF,),
            quantizations=(GGUF,),
            image="serve-llamacpp",
            offered=True,
            needs_gpu=False,
            arguments=ARGUMENTS,
            reserved=RESERVED,
            environment=("LLAMA_ARG_",),
        ),
        Engine(
            name="Transformers",
            text="Transformers in this project's own server, for Hugging Face's folders.",
            formats=(Format.HUGGING_FACE,),
            # Each needs a package beside Transformers; FP8 and MXFP4 need accelerate.
            quantizations=(),
            image="serve-transformers",
            offered=False,
            needs_gpu=False,
            arguments={"--temperature": True, "--top_p": True, "--max_new_tokens": True, "--log_level": True},
            reserved=("--model", "--model_name", "--host", "--port", "--parallel", "--context_length"),
            environment=(),
        ),
    )
}


def offered() -> dict[str, Engine]:
    """The engines that a resource may name."""
    return {name: row for name, row in ENGINES.items() if row.offered}


def images() -> tuple[str, ...]:
    """The images of the engines that are offered, each once."""
    return tuple(dict.fromkeys(row.image for row in offered().values()))


def serving(form: Format) -> list[str]:
    """The engines that serve a format.

    >>> serving(Format.GGUF)
    ['LlamaCpp']
    """
    return [row.name for row in ENGINES.values() if form in row.formats]


def problem_of(engine: str, arguments: Sequence[str]) -> str | None:
    """What is wrong with an engine's arguments; None if nothing is."""
    row = ENGINES.get(engine)
    return row.problem_of(arguments) if row is not None else f"there is no engine {engine}"


def argument_rules() -> list[Rule]:
    """Two rules an offered engine, on a resource's spec (`self`): none of ours, and none but the allowed.

    An item that does not begin with a hyphen is the value of the one before it, and so is a negative number; an engine
    refuses such an item where it expects a flag.
    """
    found = []
    for row in offered().values():
        other = f"self.engine != '{row.name}' || !has(self.engineArgs) || "
        ours, allowed = (
            "[" + ", ".join(f"'{word}'" for word in words) + "]" for words in (row.reserved, row.arguments)
        )
        found += [
            Rule(
                f"{other}!self.engineArgs.exists(a, a.split('=')[0] in {ours})",
                f"{', '.join(row.reserved)} are set by the operator: remove them",
                ".engineArgs",
            ),
            Rule(
                f"{other}self.engineArgs.all(a, !a.startsWith('-') || a.matches('{_NUMBER}') || a in {allowed}"
                f" || a.split('=')[0] in {ours})",
                "an argument must not change which model answers, nor name a file, an address or a key; a value is an "
                f"item of its own. Allowed for {row.name}: {row.allowed()}",
                ".engineArgs",
            ),
        ]
    return found
