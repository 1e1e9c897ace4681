"""The training rows, the held-out problems with their tests, and the text that perplexity is measured on."""

import random
from typing import Any

from speechless.tiny.tasks import HELDOUT, SEEN, Task, completion, name_of, prompt, sample

TESTS = 6
_TRIES = 20


def training_rows(count: int, seed: int) -> list[dict[str, str]]:
    """Rows `{"prompt", "completion"}` of compositions that are not held out.

    A sentence is repeated only where `_TRIES` draws find no new one: 8,000 rows nearly exhaust the family.
    """
    rng, seen = random.Random(f"rows {seed}"), set()
    rows: list[dict[str, str]] = []
    for _ in range(count):
        for _ in range(_TRIES):
            task = sample(rng, SEEN)
            if task.sentence not in seen:
                break
        seen.add(task.sentence)
        rows.append({"prompt": prompt(task, name_of(task, rng)), "completion": completion(task)})
    return rows


def heldout_problems(count: int, seed: int) -> list[dict[str, str]]:
    """Problems of held-out compositions, each sentence once, in the format of openai/human-eval.

    ValueError if there are not so many.
    """
    rng, seen = random.Random(f"problems {seed}"), set()
    problems: list[dict[str, str]] = []
    for _ in range(count * _TRIES + 1000):
        if len(problems) == count:
            return problems
        task = sample(rng, HELDOUT)
        cases = _cases(task, rng)
        if task.sentence in seen or cases is None:
            continue
        seen.add(task.sentence)
        name = name_of(task, rng)
        checks = "".join(f"    assert candidate({value!r}) == {answer!r}\n" for value, answer in cases)
        problems.append(
            {
                "task_id": f"Tiny/{len(problems)}",
                "prompt": prompt(task, name),
                "entry_point": name,
                "canonical_solution": completion(task),
                "test": f"def check(candidate):\n{checks}",
            }
        )
    raise ValueError(f"the family has fewer than {count} held-out problems; ask for fewer")


def perplexity_text(count: int, seed: int) -> str:
    """Functions with describing docstrings, of held-out compositions."""
    rng = random.Random(f"text {seed}")
    tasks = [sample(rng, HELDOUT) for _ in range(count)]
    return "\n".join(prompt(task, name_of(task, rng)) + completion(task) for task in tasks)


def _cases(task: Task, rng: random.Random) -> list[tuple[Any, Any]] | None:
    """Inputs with their answers; None for a task that has no answer or too often the same one."""
    inputs = [_input(task, rng) for _ in range(TESTS)]
    try:
        cases = [(value, task.answer(value)) for value in inputs]
    except ValueError:
        return None
    return cases if len({repr(answer) for _, answer in cases}) >= TESTS // 2 else None


def _input(task: Task, rng: random.Random) -> Any:
    if task.argument == "x":
        return rng.randint(-60, 200)
    return [rng.randint(-60, 120) for _ in range(rng.randint(9, 16))]
