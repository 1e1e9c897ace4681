"""Tasks: compositions of operations, which of them are held out, and what each says, does and answers."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from speechless.tiny.operations import FILTERS, MAPS, REDUCTIONS, STEPS, Operation

NEUTRAL_NAMES = ("f", "g", "h", "foo", "run", "task", "solve", "work", "helper", "func", "compute", "process")
LIST_SHARE = 0.75
"""Part of the sampled tasks that are about lists; the others are about integers."""


@dataclass(frozen=True)
class Task:
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

    @property
    def argument(self) -> str:
        """The name of the function's argument."""
        return "xs" if self.about == "list" else "x"

    @property
    def sentence(self) -> str:
        """What is to be done, in English."""
        phrases = [operation.phrase for operation in self.operations]
        if self.about == "integer":
            return f"Return x {', then '.join(phrases)}."
        kept, done, made = phrases
        return f"Return the {made} of the {kept} in xs{', each ' if done else ''}{done}."

    @property
    def body(self) -> str:
        """The expression that does it."""
        if self.about == "integer":
            first, *others = self.operations
            expression = first.code.format(e="x")
            for operation in others:
                expression = operation.of(expression)
            return expression
        kept, done, made = self.operations
        element = done.code.format(e="x")
        if not kept.code and element == "x":
            return "list(xs)" if made.code == "{e}" else made.code.format(e="xs")
        condition = f" if {kept.code}" if kept.code else ""
        return made.code.format(e=f"[{element} for x in xs{condition}]")

    @property
    def describing_name(self) -> str:
        """A function name that says what it does, such as sum_square_even."""
        ordered = self.operations[::-1] if self.about == "list" else self.operations
        return "_".join(operation.word for operation in ordered if operation.word) or "copy_list"

    def answer(self, value: Any) -> Any:
        """What the function must return for `value`; ValueError where there is no answer (largest of nothing)."""
        if self.about == "integer":
            for operation in self.operations:
                value = operation.meaning(value)
            return value
        kept, done, made = self.operations
        return made.meaning([done.meaning(x) for x in value if kept.meaning(x)])


def every_task() -> list[Task]:
    """All there are. A count is of unchanged numbers only: what is done to each would not change it."""
    lists = [
        Task("list", (kept, done, made))
        for kept in FILTERS
        for done in MAPS
        for made in REDUCTIONS
        if made != "count" or done == "same"
    ]
    integers = [Task("integer", (step,)) for step in STEPS]
    return lists + integers + [Task("integer", (one, two)) for one in STEPS for two in STEPS]


Pool = Mapping[str, Sequence[Task]]
"""Tasks by what they are about."""


def _pool(*, heldout: bool) -> Pool:
    chosen = [task for task in every_task() if task.heldout is heldout]
    return {about: [one for one in chosen if one.about == about] for about in ("list", "integer")}


SEEN = _pool(heldout=False)
HELDOUT = _pool(heldout=True)


def sample(rng: random.Random, pool: Pool) -> Task:
    """A random task of a pool."""
    return rng.choice(pool["list" if rng.random() < LIST_SHARE else "integer"])


def name_of(task: Task, rng: random.Random) -> str:
    """A function name: half of them neutral, half describing."""
    return rng.choice(NEUTRAL_NAMES) if rng.random() < 0.5 else task.describing_name


def prompt(task: Task, name: str) -> str:
    """The function's head and docstring, as in HumanEval; the completion begins on the next line."""
    return f'def {name}({task.argument}):\n    """{task.sentence}"""\n'


def completion(task: Task) -> str:
    """The function's body."""
    return f"    return {task.body}\n"
