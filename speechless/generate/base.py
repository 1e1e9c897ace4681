"""The interface of every back end: prompts and sampling parameters in, completions out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol, Self, TypedDict

FinishReason = Literal["stop", "length"]
"""OpenAI's words. stop: end of sequence or a stop string; length: `max_tokens` or the model's context is used up."""


class Message(TypedDict):
    """One message of a conversation, as in OpenAI's chat format."""

    role: str
    content: str


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen. Nothing else has a say: no penalties, no top-k, no min-p."""

    max_tokens: int
    temperature: float = 0.0
    """0: greedy."""
    top_p: float = 1.0
    """Nucleus sampling (Holtzman et al., 2019, arXiv:1904.09751); 1: the whole vocabulary."""
    stop: tuple[str, ...] = ()
    """The completion ends before the first of these."""
    seed: int = 42
    """Ignored when greedy. The prompt at position i of a call is sampled with seed + i or its equal."""

    def __post_init__(self) -> None:
        """Refuse what no back end can do."""
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens must be 1 or more, not {self.max_tokens}")
        if self.temperature < 0:
            raise ValueError(f"temperature must be 0 or more, not {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, not {self.top_p}")
        if "" in self.stop:
            raise ValueError("a stop string is empty: it would end every completion at once")


@dataclass(frozen=True)
class Completion:
    """What a model made of one prompt."""

    text: str
    """Without the prompt, special tokens and the stop string."""
    prompt_tokens: int
    completion_tokens: int
    """Those of a stop string included: the model made them."""
    finish_reason: FinishReason


def ignore_progress(_done: int) -> None:
    """Tell nobody."""


def never() -> bool:
    """Go on to the end."""
    return False


class Generator(Protocol):
    """A model that is loaded, or an endpoint. A context manager: leaving it frees the model or ends its server."""

    @property
    def name(self) -> str:
        """The back end, as it is recorded with a score: hf, llama-server, openai."""

    @property
    def versions(self) -> dict[str, str]:
        """Library name to version of what generates."""

    def complete(
        self,
        prompts: Sequence[str],
        sampling: Sampling,
        *,
        progress: Callable[[int], None] = ignore_progress,
        stopping: Callable[[], bool] = never,
    ) -> list[Completion]:
        """Continue each prompt as it stands; completions in the prompts' order.

        A prompt that fills the model's context gives an empty completion with finish reason `length`. `progress` gets
        the number of prompts done; when `stopping` turns True the call ends with `StageError`, reason `INTERRUPTED`.
        """

    def chat(
        self,
        conversations: Sequence[Sequence[Message]],
        sampling: Sampling,
        *,
        progress: Callable[[int], None] = ignore_progress,
        stopping: Callable[[], bool] = never,
    ) -> list[Completion]:
        """Answer each conversation by the model's own chat template; otherwise like `complete`."""

    def __enter__(self) -> Self:
        """Load the model or start its server."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free it."""
