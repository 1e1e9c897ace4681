"""Compositions of operations, which of them are held out, and a task: a composition with its constants filled in."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from speechless.tiny.operations import CONSTANTS, FILTERS, MAPS, REDUCTIONS, STEPS, Operation

NEUTRAL_NAMES = ("f", "g", "h", "foo", "run", "task", "solve", "work", "helper", "func", "compute", "process")
LIST_SHARE = 0.65
"""Part of the sampled tasks that are about lists; the others are about integers."""


@dataclass(frozen=True)
class Composition:
    """Which operations, in which order: of a list (filter, map, reduction) or of an integer (one or two steps)."""

    about: str
    """list or integer."""
    names: tuple[str, ...]

    @property
    def operations(self) -> tuple[Operation, ...]:
        """The operations themselves."""
        tables = (FILTERS, MAPS, REDUCTIONS) if self.about == "list" else (STEPS,) * len(self.names)
        return tuple(table[name] for table, name in zip(tables, self.names, strict=True))

    @property
    def size(self) -> int:
        """How many of the operations do something."""
        return sum(name not in {"all", "same", "list"} for name in self.names)

    @property
    def heldout(self) -> bool:
        """Whether it is held out: every fifth one of two or more operations, chosen by its SHA-256."""
        key = f"{self.about}:{','.join(self.names)}"
        return self.size >= 2 and int(hashlib.sha256(key.encode()).hexdigest(), 16) % 5 == 0


def compositions() -> list[Composition]:
    """All there are. A count is of unchanged numbers only: what is done to each would not change it."""
    lists = [
        Composition("list", (kept, done, made))
        for kept in FILTERS
        for done in MAPS
        for made in REDUCTIONS
        if made != "count" or done == "same"
    ]
    integers = [Composition("integer", (step,)) for step in STEPS]
    return lists + integers + [Composition("integer", (one, two)) for one in STEPS for two in STEPS]


SEEN = [composition for composition in compositions() if not composition.heldout]
HELDOUT = [composition for composition in compositions() if composition.heldout]


@dataclass(frozen=True)
class Task:
    """A composition with a constant for each operation (unused where the operation takes none)."""

    composition: Composition
    constants: tuple[int, ...]

    @property
    def argument(self) -> str:
        """The name of the function's argument."""
        return "xs" if self.composition.about == "list" else "x"

    @property
    def sentence(self) -> str:
        """What is to be done, in English."""
        phrases = [
            operation.phrase.format(k=k)
            for operation, k in zip(self.composition.operations, self.constants, strict=True)
        ]
        if self.composition.about == "integer":
            return f"Return x {', then '.join(phrases)}."
        kept, done, made = phrases
        return f"Return the {made} of the {kept} in xs{', ' if done else ''}{done}."

    @property
    def body(self) -> str:
        """The expression that does it."""
        pairs = list(zip(self.composition.operations, self.constants, strict=True))
        if self.composition.about == "integer":
            expression = "x"
            for position, (operation, k) in enumerate(pairs):
                expression = operation.code.format(e=f"({expression})" if position else expression, k=k)
            return expression
        (kept, kept_k), (done, done_k), (made, made_k) = pairs
        condition = f" if {kept.code.format(k=kept_k)}" if kept.code else ""
        elements = "xs" if not condition and done.code == "x" else None
        elements = elements or f"[{done.code.format(k=done_k)} for x in xs{condition}]"
        expression = made.code.format(e=elements, k=made_k)
        return "list(xs)" if expression == "xs" else expression

    @property
    def describing_name(self) -> str:
        """A function name that says what it does, such as sum_square_even."""
        operations = self.composition.operations
        ordered = operations[::-1] if self.composition.about == "list" else operations
        return "_".join(operation.word for operation in ordered if operation.word) or "copy_list"

    def answer(self, value: Any) -> Any:
        """What the function must return for `value`; ValueError where there is no answer (largest of nothing)."""
        if self.composition.about == "integer":
            for operation, k in zip(self.composition.operations, self.constants, strict=True):
                value = operation.meaning(value, k)
            return value
        (kept, done, made), (kept_k, done_k, made_k) = self.composition.operations, self.constants
        return made.meaning([done.meaning(x, done_k) for x in value if kept.meaning(x, kept_k)], made_k)


def sample(rng: random.Random, pool: Sequence[Composition]) -> Task:
    """A random task of a pool of compositions."""
    about = "list" if rng.random() < LIST_SHARE else "integer"
    composition = rng.choice([one for one in pool if one.about == about])
    return Task(composition, tuple(rng.choice(CONSTANTS) for _ in composition.names))


def name_of(task: Task, rng: random.Random) -> str:
    """A function name: half of them neutral, half describing."""
    return rng.choice(NEUTRAL_NAMES) if rng.random() < 0.5 else task.describing_name


def prompt(task: Task, name: str) -> str:
    """The function's head and docstring, as in HumanEval; the completion begins on the next line."""
    return f'def {name}({task.argument}):\n    """{task.sentence}"""\n'


def completion(task: Task) -> str:
    """The function's body."""
    return f"    return {task.body}\n"
