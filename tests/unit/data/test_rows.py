"""What is wrong with a row."""

from typing import Any

import pytest

from speechless.contract import DatasetFormat
from speechless.data import detect_format, problem_of


def turns(*pairs: tuple[Any, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in pairs]}


@pytest.mark.parametrize(
    "row",
    [
        turns(("user", "2+2?"), ("assistant", "4")),
        turns(("system", "Be brief."), ("user", "2+2?"), ("assistant", "4")),
        turns(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")),
        turns(("user", "a"), ("assistant", "b")) | {"category": "any", "tools": []},
    ],
)
def test_a_good_conversation_has_no_problem(row: object) -> None:
    assert problem_of(row, DatasetFormat.MESSAGES) is None


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({}, "'messages' is missing"),
        ({"messages": []}, "'messages' is missing, empty"),
        ({"messages": "hi"}, "not a list"),
        ({"messages": ["hi"]}, "message 1 is a string, not an object"),
        ({"messages": [{"role": "user"}]}, "message 1: 'content' is missing"),
        (turns(("human", "a"), ("assistant", "b")), "role 'human' is none of"),
        (turns((["user"], "a")), "is none of"),
        (turns(("assistant", "b")), "role 'assistant' where system or user is due"),
        (turns(("user", "a"), ("user", "b")), "message 2: role 'user' where assistant is due"),
        (
            turns(("user", "a"), ("assistant", "b"), ("assistant", "c")),
            "message 3: role 'assistant' where user",
        ),
        (turns(("user", "a"), ("assistant", "b"), ("system", "c")), "role 'system' where user is due"),
        (turns(("system", "a"), ("assistant", "b")), "role 'assistant' where user is due"),
        (turns(("system", "a"), ("system", "b")), "role 'system' where user is due"),
        (turns(("user", "a")), "the last message is the user's"),
        (turns(("system", "a")), "the last message is the system's"),
        (turns(("user", "a"), ("assistant", " \n")), "message 2: 'content' is empty"),
        (turns(("user", 5), ("assistant", "b")), "message 1: 'content' is a number, not a string"),
        (turns(("user", [{"type": "text"}]), ("assistant", "b")), "'content' is a list"),
        (turns(("user", "a"), ("assistant", "\ud800b")), "half of a surrogate pair at character 1"),
        (turns(("user", "a"), ("assistant", "b")) | {"tools": [{}]}, "'tools' is not supported"),
        (
            {"messages": [{"role": "assistant", "content": "", "tool_calls": [{}]}]},
            "'tool_calls' is not supported",
        ),
        ([1], "a row is an object, this is a list"),
        (None, "this is null"),
        (True, "this is a truth value"),
    ],
)
def test_what_is_wrong_with_a_conversation(row: object, what: str) -> None:
    assert what in (problem_of(row, DatasetFormat.MESSAGES) or "")


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"prompt": "a"}, "'completion' is missing"),
        ({"completion": "a"}, "'prompt' is missing"),
        ({"prompt": "a", "completion": ""}, "'completion' is empty"),
        ({"prompt": " ", "completion": "b"}, "'prompt' is empty"),
        ({"prompt": [], "completion": "b"}, "'prompt' is a list, not a string"),
        ({"prompt": "a", "completion": None}, "'completion' is null, not a string"),
        ({"prompt": "a", "completion": 1.5}, "'completion' is a number, not a string"),
    ],
)
def test_what_is_wrong_with_a_prompt_and_completion(row: object, what: str) -> None:
    assert what in (problem_of(row, DatasetFormat.PROMPT_COMPLETION) or "")


def test_a_format_is_told_by_its_keys() -> None:
    assert detect_format({"messages": []}) is DatasetFormat.MESSAGES
    assert detect_format({"prompt": 1, "completion": 2}) is DatasetFormat.PROMPT_COMPLETION
    assert detect_format({"prompt": 1}) is None
    assert detect_format([]) is None
