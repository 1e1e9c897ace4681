"""Answers as OpenAI's API has them: whole, and as the chunks of a stream."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from speechless.generate import Completion


def _usage(done: Sequence[Completion]) -> dict[str, int]:
    prompt = sum(completion.prompt_tokens for completion in done)
    made = sum(completion.completion_tokens for completion in done)
    return {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}


class _Answer:
    prefix: str
    kind: str
    chunk_kind: str

    def __init__(self, model: str) -> None:
        """One answer: all its chunks have the same id and time."""
        self._head = {"id": f"{self.prefix}-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}

    def _whole(self, choices: list[dict[str, Any]], done: Sequence[Completion]) -> dict[str, Any]:
        return {**self._head, "object": self.kind, "choices": choices, "usage": _usage(done)}

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {**self._head, "object": self.chunk_kind, "choices": choices}

    def usage(self, done: Sequence[Completion]) -> dict[str, Any]:
        """The chunk before the last: no choices, all tokens."""
        return {**self._chunk([]), "usage": _usage(done)}


class CompletionAnswer(_Answer):
    """For /v1/completions."""

    prefix, kind, chunk_kind = "cmpl", "text_completion", "text_completion"

    def whole(self, done: Sequence[Completion]) -> dict[str, Any]:
        """The answer to a request that does not stream."""
        choices = [
            {"index": index, "text": made.text, "logprobs": None, "finish_reason": made.finish_reason}
            for index, made in enumerate(done)
        ]
        return self._whole(choices, done)

    def begin(self, _index: int) -> Iterator[dict[str, Any]]:
        """Nothing comes before the text."""
        yield from ()

    def piece(self, index: int, text: str) -> dict[str, Any]:
        """A piece of text."""
        return self._chunk([{"index": index, "text": text, "logprobs": None, "finish_reason": None}])

    def end(self, index: int, reason: str) -> dict[str, Any]:
        """Why it ended."""
        return self._chunk([{"index": index, "text": "", "logprobs": None, "finish_reason": reason}])


class ChatAnswer(_Answer):
    """For /v1/chat/completions."""

    prefix, kind, chunk_kind = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def whole(self, done: Sequence[Completion]) -> dict[str, Any]:
        """The answer to a request that does not stream."""
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": made.text, "refusal": None},
                "logprobs": None,
                "finish_reason": made.finish_reason,
            }
            for index, made in enumerate(done)
        ]
        return self._whole(choices, done)

    def begin(self, index: int) -> Iterator[dict[str, Any]]:
        """Who speaks."""
        yield self._delta(index, {"role": "assistant", "content": ""}, None)

    def piece(self, index: int, text: str) -> dict[str, Any]:
        """A piece of text."""
        return self._delta(index, {"content": text}, None)

    def end(self, index: int, reason: str) -> dict[str, Any]:
        """Why it ended."""
        return self._delta(index, {}, reason)

    def _delta(self, index: int, delta: dict[str, str], reason: str | None) -> dict[str, Any]:
        return self._chunk([{"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}])
