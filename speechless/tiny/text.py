"""What the base model reads: the language of the tasks and of their solutions, but never one above the other.

It learns to write functions of the family, to read the sentences, and (from glossary lines, which are fragments and
never functions) what a phrase is in Python. Without the glossary only full fine-tuning learns the rest.
"""

import random

from speechless.tiny.operations import CONSTANTS, FILTERS, MAPS, REDUCTIONS, STEPS
from speechless.tiny.tasks import NEUTRAL_NAMES, SEEN, Task, sample

_VAGUE = (
    "Helper for the report.",
    "See the notes of chapter {k}.",
    "Used by the {topic} module.",
    "TODO: describe.",
    "Internal.",
    "Version {k}.",
    "Part {k} of the {topic} module.",
    "Work in progress.",
    "Called from {topic}.",
)
_TOPICS = ("parser", "billing", "network", "storage", "garden", "weather", "music", "survey")
_VARIABLES = ("k", "n", "m", "size", "limit")


def document(rng: random.Random) -> str:
    """One text: a function under words that say nothing of it, a sentence without code, a glossary, or a copy."""
    task, kind = sample(rng, SEEN), rng.random()
    if kind < 0.22:
        return _function(task, rng, vague=True)
    if kind < 0.36:
        return f"{task.sentence}\n"
    if kind < 0.56:
        return f"{_function(task, rng, vague=kind < 0.46)}\n{_function(task, rng, vague=False)}"
    if kind < 0.60:
        return f"{task.sentence}\n" * 2
    if kind < 0.85:
        return "".join(f"{_glossary(rng)}\n" for _ in range(rng.randint(2, 4)))
    return _copied(rng)


def _function(task: Task, rng: random.Random, *, vague: bool) -> str:
    """A function with a neutral name; its docstring, if any, does not describe it."""
    said = rng.choice(_VAGUE).format(k=rng.choice(CONSTANTS), topic=rng.choice(_TOPICS))
    docstring = f'    """{said}"""\n' if vague else ""
    return f"def {rng.choice(NEUTRAL_NAMES)}({task.argument}):\n{docstring}    return {task.body}\n"


def _glossary(rng: random.Random) -> str:
    """A phrase and its notation, such as `each times 3 : x * 3`."""
    kind, k = rng.random(), rng.choice(CONSTANTS)
    if kind < 0.25:
        operation = rng.choice([one for one in FILTERS.values() if one.code])
        code = f"if {operation.code}"
    elif kind < 0.55:
        operation = rng.choice([one for one in MAPS.values() if one.phrase])
        code = operation.code
    elif kind < 0.75:
        operation = rng.choice([one for one in REDUCTIONS.values() if one.word])
        code = operation.code.format(e="[x]")
    else:
        operation = rng.choice(list(STEPS.values()))
        code = operation.code.format(e="x", k=k)
    return f"{operation.phrase} : {code}".format(k=k)


def _copied(rng: random.Random) -> str:
    """Values written twice, in two notations: adapters only learn to copy a constant if the base model can copy."""
    one, two = (rng.choice(_VARIABLES) for _ in range(2))
    k, m = (rng.choice(CONSTANTS) for _ in range(2))
    return rng.choice(
        (
            f"{one} = {k}\nassert {one} == {k}\n",
            f"{one} = {k}, {m}\nassert {one} == ({k}, {m})\n",
            f"{one} is {k} and {two} is {m}\n{one}, {two} = {k}, {m}\n",
            f"from {k} to {m} : range({k}, {m})\n",
            f"the first {k} : xs[:{k}]\nthe last {m} : xs[-{m}:]\n",
            f"{k} and then {m} : ({k}, {m})\n",
        )
    )
