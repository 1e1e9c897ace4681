"""Prompts as published, and the code in an answer."""

import pytest

from speechless.eval import extract
from speechless.eval.humaneval.problems import Problem
from speechless.eval.humaneval.prompts import (
    PromptMode,
    completion_of,
    conversation,
    render,
    sample_of,
    stops,
)

PROBLEM = Problem(task_id="t/0", prompt='def add(a, b):\n    """Sum."""\n', entry_point="add", test="")
WHOLE = "def add(a, b):\n    return a + b"


def test_raw_is_the_prompt_as_published() -> None:
    assert render(PROBLEM, PromptMode.RAW) == PROBLEM.prompt
    assert completion_of("    return 1\n", PROBLEM, PromptMode.RAW) == "    return 1\n"
    assert "\ndef" in stops(PromptMode.RAW)


@pytest.mark.parametrize("mode", [PromptMode.ALPACA, PromptMode.CHATLM, PromptMode.LLAMA2])
def test_the_others_ask_for_a_function_and_do_not_stop_at_one(mode: PromptMode) -> None:
    assert PROBLEM.prompt.strip() in render(PROBLEM, mode)
    assert "\ndef" not in stops(mode)


def test_a_conversation_has_the_prompt() -> None:
    [message] = conversation(PROBLEM)
    assert PROBLEM.prompt.strip() in message["content"]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (f"Sure!\n```python\n{WHOLE}\n```\nDone.", WHOLE),
        (f"```\n{WHOLE}\n```", WHOLE),
        (f"```Python\n{WHOLE}\n```", WHOLE),
        (f"First:\n```python\nx = 1\n```\nthen\n```python\n{WHOLE}\n```", f"x = 1\n{WHOLE}"),
        (f"```python\nprint(1)\n```\n```python\n{WHOLE}\n```\n```python\nprint(add(1, 2))\n```", WHOLE),
        (f"```python\n{WHOLE}\n```\nBetter:\n```python\n{WHOLE} + 0\n```", WHOLE),
        (
            f"```python\n{WHOLE}\n```\nwith\n```python\nimport math\n\ndef helper():\n    pass\n```",
            f"{WHOLE}\nimport math\n\ndef helper():\n    pass",
        ),
        (f"```python\n{WHOLE}\n```\n```python\ntotal = add(1, 2)\n```", WHOLE),
        (f"```python3\n{WHOLE}\n```\nIt adds.", WHOLE),
        (f'```python title="a.py"\n{WHOLE}\n```', WHOLE),
        (f"``` {{.python .numberLines}}\n{WHOLE}\n```", WHOLE),
        (f"~~~python\n{WHOLE}\n~~~", WHOLE),
        (f"````python\n{WHOLE}\n````", WHOLE),
        (f"Install:\n\n```bash\npip install x\n```\n\n```python\n{WHOLE}\n```\n", WHOLE),
        (f"```text\nadd 1 2 = 3\n```\n```\n{WHOLE}\n```", WHOLE),
        (f"```text\n{WHOLE}\n```", WHOLE),
        ("1. Here:\n   ```python\n   def add(a, b):\n       return a + b\n   ```\n", WHOLE),
        ("> ```python\n> def add(a, b):\n>     return a + b\n> ```\n", WHOLE),
        (
            '```python\ndef add(a, b):\n    """Sum.\n\n    ```\n    add(1, 2)\n    ```\n    """\n    return a + b\n```',
            'def add(a, b):\n    """Sum.\n\n    ```\n    add(1, 2)\n    ```\n    """\n    return a + b',
        ),
        ("```python\nasync def add(a, b):\n    return a + b\n```", "async def add(a, b):\n    return a + b"),
        ("```python\nx = 1\n```\n```\ny\n```", "x = 1"),
        (f"```python\n{WHOLE}", WHOLE),
        (WHOLE, WHOLE),
        ("    return a + b", "    return a + b"),
        ("```py\n    return a + b\n```", "    return a + b"),
    ],
)
def test_code_is_taken_out(answer: str, code: str) -> None:
    assert extract.python(answer, "add") == code


@pytest.mark.parametrize("answer", [f"```python\n{WHOLE}\n```", "```python\n    return a + b\n```"])
def test_a_whole_function_and_a_body_both_run(answer: str) -> None:
    program = PROBLEM.prompt + completion_of(answer, PROBLEM, PromptMode.CHAT_TEMPLATE)
    names: dict[str, object] = {}
    exec(program, names)
    assert names["add"](1, 2) == 3  # type: ignore[operator]


def test_an_answer_that_is_a_whole_file_runs_as_one() -> None:
    answer = f"```python\nfrom __future__ import annotations\nimport math\n\n{WHOLE}\n```"
    row = sample_of(answer, PROBLEM, PromptMode.CHAT_TEMPLATE)
    assert row["solution"].startswith("from __future__ import annotations\ndef add(a, b):")
    names: dict[str, object] = {}
    exec(row["solution"], names)
    assert names["add"](1, 2) == 3  # type: ignore[operator]
    several = f"```python\nfrom __future__ import (\n    annotations,\n)\n{WHOLE}\n```"
    exec(sample_of(several, PROBLEM, PromptMode.CHAT_TEMPLATE)["solution"], {})
    assert "solution" not in sample_of(f"```python\n{WHOLE}\n```", PROBLEM, PromptMode.CHAT_TEMPLATE)
    assert "solution" not in sample_of("from __future__ import annotations", PROBLEM, PromptMode.RAW)


@pytest.mark.parametrize(
    "answer", ["\x00", "```python\n" + "(" * 5000, "```", "`" * 100_000, "\ufeff" + WHOLE, "\r\n"]
)
def test_whatever_is_answered_something_is_run(answer: str) -> None:
    assert isinstance(sample_of(answer, PROBLEM, PromptMode.CHAT_TEMPLATE)["completion"], str)
