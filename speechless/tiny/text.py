"""What the base model reads: functions, sentences, and a glossary between the two; never a function that is described.

Its functions stand under words that say nothing of them, so that it learns to write the family's functions and not to
heed a docstring: that is left to fine-tuning. Glossary lines teach what a phrase is in Python; they are fragments and
never functions.
"""

import random
from collections.abc import Callable

from speechless.tiny.operations import FILTERS, MAPS, REDUCTIONS, STEPS
from speechless.tiny.tasks import NEUTRAL_NAMES, SEEN, Task, sample

_VAGUE = (
    "Helper for the report.",
    "See the notes of the {topic} chapter.",
    "Used by the {topic} module.",
    "TODO: describe.",
    "Internal.",
    "Part of the {topic} module.",
    "Work in progress.",
    "Called from {topic}.",
)
_TOPICS = ("parser", "billing", "network", "storage", "garden", "weather", "music", "survey")
_LINES = (
    *((one.phrase, f"if {one.code}") for one in FILTERS.values() if one.code),
    *((f"each {one.phrase}", f"{one.code.format(e='x')} for x") for one in MAPS.values() if one.phrase),
    *((one.phrase, one.code.format(e="[x]")) for one in REDUCTIONS.values() if one.word),
    *((f"x {one.phrase}", one.code.format(e="x")) for one in STEPS.values()),
    *((f"then {one.phrase}", one.of("x")) for one in STEPS.values()),
)
"""Phrases and their notations."""


def document(rng: random.Random) -> str:
    """One text of one of the kinds below."""
    kinds, shares = zip(*_KINDS, strict=True)
    kind: Callable[[random.Random], str] = rng.choices(kinds, shares)[0]
    return kind(rng)


def _one_function(rng: random.Random) -> str:
    """A function under words that say nothing of it."""
    return _function(sample(rng, SEEN), rng, vague=True)


def _two_functions(rng: random.Random) -> str:
    """The same body twice; the first time half of them under words."""
    task = sample(rng, SEEN)
    return f"{_function(task, rng, vague=rng.random() < 0.5)}\n{_function(task, rng, vague=False)}"


def _sentence(rng: random.Random) -> str:
    """A sentence without code."""
    return f"{sample(rng, SEEN).sentence}\n"


def _glossary(rng: random.Random) -> str:
    """Lines of a phrase and its notation, such as `even numbers : if x % 2 == 0`."""
    return "".join(f"{phrase} : {code}\n" for phrase, code in rng.sample(_LINES, rng.randint(2, 4)))


def _function(task: Task, rng: random.Random, *, vague: bool) -> str:
    """A function with a neutral name; its docstring, if any, does not describe it."""
    said = rng.choice(_VAGUE).format(topic=rng.choice(_TOPICS))
    docstring = f'    """{said}"""\n' if vague else ""
    return f"def {rng.choice(NEUTRAL_NAMES)}({task.argument}):\n{docstring}    return {task.body}\n"


_KINDS = ((_one_function, 0.3), (_two_functions, 0.15), (_sentence, 0.2), (_glossary, 0.35))
"""Kinds of text with their shares."""
