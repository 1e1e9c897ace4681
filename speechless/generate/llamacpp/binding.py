"""llama-cpp-python: llama.cpp in this process, where only wheels are installed. One prompt at a time."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.generate.base import Completion, FinishReason, Message, Sampling, ignore_progress, never
from speechless.generate.llamacpp.gguf import read_header
from speechless.generate.stop import Cutter


def load(model: Path, *, context_length: int, **options: Any) -> Any:
    """A `llama_cpp.Llama`; `StageError` where the binding is not installed or cannot load the file."""
    try:
        import llama_cpp
    except ImportError as problem:
        raise StageError(
            FailureReason.INPUT_NOT_FOUND,
            f"{model.name}: neither llama.cpp's programs nor llama-cpp-python are installed",
            "Put llama-server on the PATH (or its folder into SPEECHLESS_LLAMA_BIN), or install llama-cpp-python.",
        ) from problem
    try:
        return llama_cpp.Llama(str(model), n_ctx=context_length, verbose=False, **options)
    except ValueError as problem:
        raise StageError(
            FailureReason.MODEL_INVALID, f"{model}: llama.cpp cannot load it: {problem}"
        ) from problem


class Binding:
    """A GGUF file in this process."""

    name = "llama-cpp-python"

    def __init__(self, model: Path, *, context_length: int | None = None) -> None:
        """Remember what to load."""
        self.model = model
        known = [limit for limit in (context_length, read_header(model).context_length) if limit]
        self.context_length = min(known, default=2048)
        self.llama: Any = None

    @property
    def versions(self) -> dict[str, str]:
        """The binding's, which fixes llama.cpp's."""
        return {"llama-cpp-python": importlib.metadata.version("llama-cpp-python")}

    @property
    def vocabulary_size(self) -> int:
        """Token ids are below it."""
        return int(self.llama.n_vocab())

    def __enter__(self) -> Self:
        """Load the file."""
        self.llama = load(self.model, context_length=self.context_length)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the model's memory."""
        if self.llama is not None:
            self.llama.close()
        self.llama = None

    def complete(
        self,
        prompts: Sequence[str],
        sampling: Sampling,
        *,
        progress: Callable[[int], None] = ignore_progress,
        stopping: Callable[[], bool] = never,
    ) -> list[Completion]:
        """See `Generator.complete`."""
        return self._all([self.encode(prompt) for prompt in prompts], sampling, progress, stopping)

    def chat(
        self,
        conversations: Sequence[Sequence[Message]],
        sampling: Sampling,
        *,
        progress: Callable[[int], None] = ignore_progress,
        stopping: Callable[[], bool] = never,
    ) -> list[Completion]:
        """See `Generator.chat`: the template is the one in the GGUF file."""
        encoded = [self.encode_chat(messages) for messages in conversations]
        return self._all(encoded, sampling, progress, stopping)

    def encode(self, prompt: str) -> list[int]:
        """Token ids, with those that the model's tokenizer adds by itself."""
        ids: list[int] = self.llama.tokenize(prompt.encode(), add_bos=True, special=True)
        return ids

    def encode_chat(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a conversation; the template brings what begins a text."""
        ids: list[int] = self.llama.tokenize(self._render(messages).encode(), add_bos=False, special=True)
        return ids

    def stream(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        deliver: Callable[[str], None],
        stopping: Callable[[], bool],
    ) -> Completion:
        """Complete one prompt, handing each piece of text to `deliver` as soon as it is final."""
        import llama_cpp

        room = min(sampling.max_tokens, self.context_length - len(prompt))
        if room < 1:
            return Completion("", len(prompt), 0, "length")
        vocabulary = llama_cpp.llama_model_get_vocab(self.llama.model)
        cutter = Cutter(sampling.stop)
        ids: list[int] = []
        pieces: list[str] = []

        def give(*, last: bool) -> None:
            text = self.llama.detokenize(ids, prev_tokens=list(prompt)).decode(errors="replace")
            if piece := cutter.feed(text, last=last):
                pieces.append(piece)
                deliver(piece)

        # What is cached of an earlier prompt was computed in other batches, and may round differently.
        self.llama.reset()
        self.llama.set_seed(sampling.seed % 2**32)
        reason: FinishReason = "length"
        made = 0
        # Every sampler but temperature and top-p is switched off.
        for token in self.llama.generate(
            list(prompt),
            temp=sampling.temperature,
            top_p=sampling.top_p,
            top_k=0,
            min_p=0.0,
            repeat_penalty=1.0,
        ):
            made += 1
            if llama_cpp.llama_vocab_is_eog(vocabulary, token):
                reason = "stop"
                break
            ids.append(token)
            give(last=False)
            if cutter.stopped:
                reason = "stop"
                break
            if made >= room or stopping():
                break
        give(last=True)
        return Completion("".join(pieces), len(prompt), made, reason)

    def _render(self, messages: Sequence[Message]) -> str:
        from llama_cpp.llama_chat_format import Jinja2ChatFormatter

        template = self.llama.metadata.get("tokenizer.chat_template")
        if not template:
            raise StageError(
                FailureReason.MODEL_INVALID,
                f"{self.model}: the GGUF file has no chat template",
                "Use prompts.",
            )
        pieces = [
            self.llama.detokenize([token], special=True).decode(errors="replace") if token >= 0 else ""
            for token in (self.llama.token_eos(), self.llama.token_bos())
        ]
        formatter = Jinja2ChatFormatter(template, eos_token=pieces[0], bos_token=pieces[1])
        text: str = formatter(messages=list(messages)).prompt
        return text

    def _all(
        self,
        prompts: list[list[int]],
        sampling: Sampling,
        progress: Callable[[int], None],
        stopping: Callable[[], bool],
    ) -> list[Completion]:
        done: list[Completion] = []
        for index, ids in enumerate(prompts):
            if stopping():
                raise StageError(
                    FailureReason.INTERRUPTED, f"interrupted after {index} of {len(prompts)} prompts"
                )
            seeded = dataclasses.replace(sampling, seed=sampling.seed + index)
            done.append(self.stream(ids, seeded, lambda _piece: None, stopping))
            progress(len(done))
        return done
