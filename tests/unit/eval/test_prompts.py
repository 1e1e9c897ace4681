"""Prompts as published, and the code in an answer."""

import pytest

from speechless.eval.humaneval.problems import Problem
from speechless.eval.humaneval.prompts import (
    PromptMode,
    completion_of,
    conversation,
    extract_code,
    render,
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
        (f"First:\n```python\nx = 1\n```\nthen\n```python\n{WHOLE}\n```", WHOLE),
        ("```python\nx = 1\n```\n```\ny\n```", "x = 1"),
        (f"```python\n{WHOLE}", WHOLE),
        (WHOLE, WHOLE),
        ("    return a + b", "    return a + b"),
        ("```py\n    return a + b\n```", "    return a + b"),
    ],
)
def test_code_is_taken_out(answer: str, code: str) -> None:
    assert extract_code(answer, "add") == code


@pytest.mark.parametrize("answer", [f"```python\n{WHOLE}\n```", "```python\n    return a + b\n```"])
def test_a_whole_function_and_a_body_both_run(answer: str) -> None:
    program = PROBLEM.prompt + completion_of(answer, PROBLEM, PromptMode.CHAT_TEMPLATE)
    names: dict[str, object] = {}
    exec(program, names)
    assert names["add"](1, 2) == 3  # type: ignore[operator]
