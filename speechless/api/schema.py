"""Requests as OpenAI's API has them, and what of them this server does.

Every field of OpenAI's that has a neutral value is taken with it: a client that sends `n: 1` asks for nothing special.
A field that OpenAI does not have is an error, and so is a value that is not done here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from speechless.generate import Message, Sampling

Stop = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class StreamOptions(BaseModel):
    """What a stream carries besides text."""

    model_config = ConfigDict(extra="forbid")

    include_usage: bool = False


class TextPart(BaseModel):
    """A part of a message's content; images and sound are not done."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    """One message."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: None = None
    refusal: None = None
    tool_calls: None = None

    def plain(self) -> Message:
        """For the chat template: `developer` is what newer OpenAI models call `system`."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class GenerationRequest(BaseModel):
    """What both routes take."""

    model_config = ConfigDict(extra="forbid")

    model: str
    stream: bool = False
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = None
    stop: Stop | list[Stop] | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    user: str | None = None
    """A label of the client's own; it changes nothing in OpenAI's answers either."""
    # Neutral values only.
    n: Literal[1] | None = None
    presence_penalty: Literal[0] | None = None
    frequency_penalty: Literal[0] | None = None
    logit_bias: dict[str, Any] | None = Field(default=None, max_length=0)

    @field_validator("stop")
    @classmethod
    def _few(cls, stop: Any) -> Any:
        if isinstance(stop, list) and len(stop) > 16:
            raise ValueError("at most 16 stop strings")
        return stop

    @field_validator("presence_penalty", "frequency_penalty", mode="before")
    @classmethod
    def _whole(cls, value: Any) -> Any:
        """0.0 is 0."""
        return int(value) if isinstance(value, float) and value == 0 else value

    def stops(self) -> tuple[str, ...]:
        """As a tuple."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)


class CompletionRequest(GenerationRequest):
    """POST /v1/completions."""

    prompt: str | list[str] | list[int] | list[list[int]]
    best_of: Literal[1] | None = None
    echo: Literal[False] | None = None
    logprobs: None = None
    suffix: None = None

    def prompts(self) -> list[str] | list[list[int]]:
        """One or more prompts, each a text or token ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if self.prompt and isinstance(self.prompt[0], int):
            return [self.prompt]  # a list of numbers is one prompt
        return cast("list[str] | list[list[int]]", self.prompt)


class ChatRequest(GenerationRequest):
    """POST /v1/chat/completions."""

    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    """The newer name of max_tokens."""
    logprobs: Literal[False] | None = None
    top_logprobs: Literal[0] | None = None
    tools: list[Any] | None = Field(default=None, max_length=0)
    tool_choice: Literal["none", "auto"] | None = None
    response_format: dict[str, Any] | None = None

    @field_validator("response_format")
    @classmethod
    def _text_only(cls, value: Any) -> Any:
        if value is not None and value != {"type": "text"}:
            raise ValueError("only {'type': 'text'} is done here")
        return value


class Defaults(BaseModel):
    """What a request that does not say gets. OpenAI's own, unless the server was started with others."""

    model_config = ConfigDict(frozen=True)

    temperature: float = Field(default=1.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    """None: 16 for a completion, the rest of the context for a chat, as in OpenAI's API."""


def sampling(
    request: GenerationRequest, defaults: Defaults, *, room: int, fallback: int, seed: int
) -> Sampling:
    """How a request is sampled. The request wins over the defaults. `room`: tokens left in the context."""
    newer = request.max_completion_tokens if isinstance(request, ChatRequest) else None
    wanted = newer or request.max_tokens or defaults.max_tokens or fallback
    return Sampling(
        max_tokens=max(1, min(wanted, room)),
        temperature=defaults.temperature if request.temperature is None else request.temperature,
        top_p=defaults.top_p if request.top_p is None else request.top_p,
        stop=request.stops(),
        seed=seed if request.seed is None else request.seed,
    )
