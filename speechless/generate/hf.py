"""Transformers: a Hugging Face folder, in batches with left padding. float32 on a processor, bfloat16 on CUDA."""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from speechless.contract import FailureReason
from speechless.data.render import open_prompt
from speechless.errors import StageError
from speechless.generate.base import Completion, Message, Sampling, ignore_progress, never
from speechless.generate.files import ModelFiles, ModelKind, check_files
from speechless.generate.stop import Cutter, first_stop
from speechless.models.weights import refuse_missing


class HuggingFace:
    """A causal language model of Transformers. Loads local files only, and never code from the model's folder."""

    name = "hf"

    def __init__(self, folder: Path, *, batch_size: int = 16, context_length: int | None = None) -> None:
        """Remember what to load: `batch_size` prompts at a time, `context_length` tokens at most."""
        self.folder = folder
        self.batch_size = batch_size
        self._context_length = context_length
        self.model: Any = None
        self.tokenizer: Any = None
        self._tokenizing = threading.Lock()
        self._drawing = threading.Lock()
        """torch's random numbers have one state a process: who draws from a seed must draw alone."""

    @property
    def versions(self) -> dict[str, str]:
        """Of the libraries that compute."""
        return {name: importlib.metadata.version(name) for name in ("torch", "transformers", "tokenizers")}

    @property
    def context_length(self) -> int | None:
        """Tokens of prompt and completion together; None: no limit is known."""
        config = self.model.config.get_text_config()
        own = getattr(config, "max_position_embeddings", None)
        known = [limit for limit in (self._context_length, own) if limit]
        return min(known, default=None)

    @property
    def vocabulary_size(self) -> int:
        """Token ids are below it."""
        return int(self.model.config.get_text_config().vocab_size)

    def __enter__(self) -> Self:
        """Load model and tokenizer. StageError(MODEL_INVALID), before the weights are read, as of `check_files`."""
        check_files(ModelFiles(ModelKind.HUGGING_FACE, self.folder))
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging as told

        if not (sys.stderr and sys.stderr.isatty()):
            told.disable_progress_bar()  # nobody looks, and in a log a bar is many lines
        device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
            self.model, info = AutoModelForCausalLM.from_pretrained(
                self.folder,
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
        except (OSError, ValueError, KeyError, ImportError) as problem:
            raise StageError(
                FailureReason.MODEL_INVALID,
                f"{self.folder}: Transformers cannot load it: {problem}",
                "The folder needs config.json, the weights as safetensors, and a tokenizer.",
            ) from problem
        refuse_missing(self.folder, info["missing_keys"])
        self.model.to(device).eval()
        self._settle()
        self.tokenizer.padding_side = "left"
        self.tokenizer.truncation_side = "left"
        return self

    @classmethod
    @contextlib.contextmanager
    def around(cls, model: Any, tokenizer: Any, *, batch_size: int = 16) -> Iterator[Self]:
        """A back end of a model that is loaded, and is as it was when the block ends."""
        made = cls(Path(tokenizer.name_or_path), batch_size=batch_size)
        made.model, made.tokenizer = model, tokenizer
        before, training = model.generation_config, model.training
        made._settle()
        model.eval()
        try:
            yield made
        finally:
            model.generation_config = before
            model.train(training)

    def _settle(self) -> None:
        """The folder's own generation settings (penalties, top-k, ...) must not change a score or an answer unseen."""
        from transformers import GenerationConfig

        ends = self._ends()
        self.model.generation_config = GenerationConfig(eos_token_id=ends, pad_token_id=self._padding(ends))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the model's memory."""
        import torch

        self.model = self.tokenizer = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt that the tokenizer's chat template makes of a conversation."""
        if not self.tokenizer.chat_template:
            raise StageError(
                FailureReason.MODEL_INVALID,
                f"{self.folder}: the tokenizer has no chat template",
                "Use a model with one, or prompts for completion.",
            )
        import jinja2

        try:
            text: str = self.tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=True
            )
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            what = f"{self.folder.name}: the chat template refuses the conversation: {error}"
            hint = "order the messages as the template wants them"
            raise StageError(FailureReason.MODEL_INVALID, what, hint) from error
        return text

    def encode(self, prompt: str, *, special: bool = True) -> list[int]:
        """Token ids. `special`: with those that the tokenizer puts before a text; a chat template brings its own."""
        # A fast tokenizer that two threads use at a time raises "Already borrowed".
        with self._tokenizing:
            if special:
                return open_prompt(prompt, self.tokenizer)
            ids: list[int] = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        return ids

    def encode_chat(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a conversation, by the chat template."""
        return self.encode(self.render(messages), special=False)

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
        """See `Generator.chat`."""
        rendered = [self.encode_chat(messages) for messages in conversations]
        return self._all(rendered, sampling, progress, stopping)

    def continued(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        progress: Callable[[int], None] = ignore_progress,
        stopping: Callable[[], bool] = never,
    ) -> list[Completion]:
        """The same as `complete`, of token ids."""
        return self._all([list(prompt) for prompt in prompts], sampling, progress, stopping)

    def stream(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        deliver: Callable[[str], None],
        stopping: Callable[[], bool],
    ) -> Completion:
        """Complete one prompt, handing each piece of text to `deliver` as soon as it is final."""
        cutter = Cutter(sampling.stop)

        def follow(ids: list[int]) -> None:
            if piece := cutter.feed(self._decode(ids)):
                deliver(piece)

        [(ids, completion)] = self._batch([list(prompt)], sampling, stopping, follow=follow)
        if piece := cutter.feed(self._decode(ids), last=True):
            deliver(piece)
        return completion

    def _all(
        self,
        prompts: list[list[int]],
        sampling: Sampling,
        progress: Callable[[int], None],
        stopping: Callable[[], bool],
    ) -> list[Completion]:
        done: list[Completion] = []
        for batch in _batches(prompts, self.batch_size):
            done += [
                completion
                for _, completion in self._batch(batch, sampling, stopping, seed=sampling.seed + len(done))
            ]
            if stopping():
                raise StageError(
                    FailureReason.INTERRUPTED, f"interrupted after {len(done)} of {len(prompts)} prompts"
                )
            progress(len(done))
        return done

    def _batch(
        self,
        prompts: list[list[int]],
        sampling: Sampling,
        stopping: Callable[[], bool],
        *,
        seed: int | None = None,
        follow: Callable[[list[int]], None] | None = None,
    ) -> list[tuple[list[int], Completion]]:
        """Complete prompts together: input of shape (prompts, longest prompt), padded on the left."""
        import torch

        from speechless.generate.hf_criteria import Watch

        limit = self.context_length
        budgets = [
            min(sampling.max_tokens, limit - len(ids)) if limit else sampling.max_tokens for ids in prompts
        ]
        fits = [index for index, budget in enumerate(budgets) if budget > 0 and prompts[index]]
        made: dict[int, tuple[list[int], Completion]] = {}
        if fits:
            chosen = [prompts[index] for index in fits]
            width = max(map(len, chosen))
            padding = self.model.generation_config.pad_token_id
            rows = [[padding] * (width - len(ids)) + ids for ids in chosen]
            mask = [[0] * (width - len(ids)) + [1] * len(ids) for ids in chosen]
            watch = Watch(self, width, [budgets[index] for index in fits], sampling.stop, stopping, follow)
            how: dict[str, Any] = {"do_sample": False}
            if sampling.temperature > 0:
                how = {
                    "do_sample": True,
                    "temperature": sampling.temperature,
                    "top_p": sampling.top_p,
                    "top_k": 0,
                }
            alone = self._drawing if sampling.temperature > 0 else contextlib.nullcontext()
            with torch.inference_mode(), alone:
                if sampling.temperature > 0:
                    torch.manual_seed((sampling.seed if seed is None else seed) % 2**63)
                output = self.model.generate(
                    input_ids=torch.tensor(rows, device=self.model.device),
                    attention_mask=torch.tensor(mask, device=self.model.device),
                    max_new_tokens=max(budgets[index] for index in fits),
                    stopping_criteria=[watch],
                    **how,
                )
            for index, ids in zip(fits, output[:, width:].tolist(), strict=True):
                made[index] = self._completion(prompts[index], ids, budgets[index], sampling.stop)
        empty: list[tuple[list[int], Completion]] = [
            ([], Completion("", len(ids), 0, "length")) for ids in prompts
        ]
        return [made.get(index, empty[index]) for index in range(len(prompts))]

    def _completion(
        self, prompt: list[int], ids: list[int], budget: int, stops: tuple[str, ...]
    ) -> tuple[list[int], Completion]:
        """Cut what was generated at the end of sequence, at its budget and at the first stop string."""
        ends = set(self._ends())
        end = next((position for position, token in enumerate(ids) if token in ends), None)
        kept = ids[: min(budget, len(ids) if end is None else end)]
        ended = end is not None and end < budget
        for size in self._until_stop(kept, stops):
            text = self._decode(kept[:size])
            return kept[:size], Completion(text[: first_stop(text, stops)], len(prompt), size, "stop")
        made = len(kept) + ended
        return kept, Completion(self._decode(kept), len(prompt), made, "stop" if ended else "length")

    def _until_stop(self, ids: list[int], stops: tuple[str, ...]) -> Iterator[int]:
        """The number of tokens with which the first stop string is complete, if there is one."""
        if not stops or first_stop(self._decode(ids), stops) is None:
            return
        low, high = 1, len(ids)
        while low < high:
            middle = (low + high) // 2
            if first_stop(self._decode(ids[:middle]), stops) is None:
                low = middle + 1
            else:
                high = middle
        yield high

    def _decode(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def _ends(self) -> list[int]:
        """Ids that end a sequence: those of the model's generation settings and the tokenizer's own."""
        configured = self.model.generation_config.eos_token_id
        ids = configured if isinstance(configured, list) else [configured]
        return sorted({token for token in (*ids, self.tokenizer.eos_token_id) if token is not None})

    def _padding(self, ends: list[int]) -> int:
        """Any id will do: the attention mask hides it."""
        own: int | None = self.tokenizer.pad_token_id
        return own if own is not None else ends[0] if ends else 0


def _batches(prompts: list[list[int]], size: int) -> Iterator[list[list[int]]]:
    for start in range(0, len(prompts), size):
        yield prompts[start : start + size]
