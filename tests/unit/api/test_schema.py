"""Requests in OpenAI's shape: what is taken, what is refused, and what wins."""

from typing import Any

import pytest
from pydantic import ValidationError

from speechless.api.answers import ChatAnswer, CompletionAnswer
from speechless.api.schema import ChatRequest, CompletionRequest, Defaults, sampling
from speechless.generate import Completion

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
PLAIN = {"model": "m", "prompt": "hi"}


@pytest.mark.parametrize(
    "more",
    [
        {"n": 1, "presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {}, "user": "u"},
        {"stop": None, "max_tokens": None, "temperature": None, "stream_options": None},
        {"stop": ["a", "b"], "seed": 3, "stream": True, "stream_options": {"include_usage": True}},
    ],
)
def test_neutral_values_are_taken(more: dict[str, Any]) -> None:
    CompletionRequest.model_validate(PLAIN | more)
    ChatRequest.model_validate(CHAT | more)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"foo": 1}, "foo"),
        ({"n": 2}, "n"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"temperature": 2.5}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"stop": ""}, "stop"),
        ({"logprobs": 3}, "logprobs"),
        ({"logit_bias": {"1": 5}}, "logit_bias"),
    ],
)
def test_the_rest_is_refused_by_name(more: dict[str, Any], field: str) -> None:
    for kind, base in ((CompletionRequest, PLAIN), (ChatRequest, CHAT)):
        with pytest.raises(ValidationError) as refused:
            kind.model_validate(base | more)
        assert refused.value.errors()[0]["loc"][0] == field


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [{"type": "function"}]},
        {"response_format": {"type": "json_object"}},
        {"messages": []},
        {"messages": [{"role": "tool", "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
    ],
)
def test_what_a_chat_cannot_do_here_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ChatRequest.model_validate(CHAT | more)


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [("a", ["a"]), (["a", "b"], ["a", "b"]), ([1, 2], [[1, 2]]), ([[1], [2]], [[1], [2]])],
)
def test_all_kinds_of_prompts(prompt: Any, prompts: Any) -> None:
    assert CompletionRequest.model_validate(PLAIN | {"prompt": prompt}).prompts() == prompts


def test_parts_and_developer() -> None:
    request = ChatRequest.model_validate(
        CHAT
        | {
            "messages": [
                {
                    "role": "developer",
                    "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
                }
            ]
        }
    )
    assert request.messages[0].plain() == {"role": "system", "content": "ab"}


def test_the_request_wins_over_the_defaults() -> None:
    defaults = Defaults(temperature=0.5, top_p=0.9, max_tokens=7)
    silent = sampling(CompletionRequest.model_validate(PLAIN), defaults, room=100, fallback=16, seed=1)
    assert (silent.temperature, silent.top_p, silent.max_tokens, silent.seed) == (0.5, 0.9, 7, 1)
    told = ChatRequest.model_validate(
        CHAT | {"temperature": 0, "max_completion_tokens": 9, "seed": 0, "stop": "x"}
    )
    used = sampling(told, defaults, room=100, fallback=16, seed=1)
    assert (used.temperature, used.max_tokens, used.seed, used.stop) == (0.0, 9, 0, ("x",))
    assert sampling(told, defaults, room=5, fallback=16, seed=1).max_tokens == 5
    assert (
        sampling(CompletionRequest.model_validate(PLAIN), Defaults(), room=99, fallback=16, seed=1).max_tokens
        == 16
    )


def test_usage_adds_up() -> None:
    done = [Completion("a", 2, 3, "stop"), Completion("b", 4, 5, "length")]
    whole = CompletionAnswer("m").whole(done)
    assert whole["usage"] == {"prompt_tokens": 6, "completion_tokens": 8, "total_tokens": 14}
    assert [choice["finish_reason"] for choice in whole["choices"]] == ["stop", "length"]
    chat = ChatAnswer("m")
    assert chat.usage(done)["choices"] == []
    assert len({part["id"] for part in (*chat.begin(0), chat.piece(0, "x"), chat.end(0, "stop"))}) == 1
