"""Perplexity of a model over a text, by llama.cpp's definition whatever the model's files are.

The text is cut into windows of `context` tokens. In each, the first half is context only, and the second half is
scored, so that every scored token has at least half a window before it. Perplexity is exp of the mean negative
log-likelihood of the scored tokens (Jelinek et al., 1977). A model whose tokenizer puts a token at the beginning of a
text has it as the first of every window. tools/perplexity/perplexity.cpp in llama.cpp computes the same.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.generate.files import ModelKind, find_model

CONTEXT = 512
"""Tokens of a window where text and model allow it: llama.cpp's default."""
SHORTEST = 16

Progress = Callable[[int, int], None]
"""Gets the windows done and their number."""


@dataclass(frozen=True)
class Perplexity:
    """The measure with what it depends on."""

    value: float
    tokens: int
    """Scored tokens."""
    context: int
    """Tokens of a window. Values of different windows cannot be compared."""
    windows: int
    tokens_per_second: float | None
    """Tokens read a second, where it is known: prompt speed, not generation."""


def measure(
    model: Path,
    text: Path,
    *,
    most: int | None = None,
    progress: Progress = lambda _done, _all: None,
    stopping: Callable[[], bool] = lambda: False,
) -> Perplexity:
    """Measure a model, a Hugging Face folder or a GGUF file, on a UTF-8 text file, or on its first `most` windows.

    `StageError`: `DATASET_INVALID` for a text that is too short, `MODEL_INVALID` for a perplexity that is not finite.
    """
    files = find_model(model)
    words = read_text(text)
    if files.kind is ModelKind.HUGGING_FACE:
        found = _with_transformers(files.path, words, text.name, most, progress, stopping)
    else:
        from speechless.generate.llamacpp.tools import find_tool

        binary = find_tool("llama-perplexity")
        if binary is not None:
            found = _with_tool(binary, files.path, text, most, progress, stopping)
        else:
            found = _by_transformers(files.path, words, text.name, most, progress, stopping)
    if not math.isfinite(found.value) or found.value <= 0:
        raise StageError(
            FailureReason.MODEL_INVALID,
            f"{files.path.name}: its perplexity on {text.name} is {found.value}",
            "Weights that are not finite, or a conversion that went wrong.",
        )
    return found


def read_text(path: Path) -> str:
    """The text without one newline at its end, which llama.cpp takes off, too."""
    try:
        words = path.read_bytes().decode()
    except UnicodeDecodeError as problem:
        raise StageError(
            FailureReason.DATASET_INVALID, f"{path.name}: not UTF-8 text: {problem}"
        ) from problem
    return words.removesuffix("\n")


def window_for(tokens: int, limit: int | None, name: str) -> int:
    """The window: CONTEXT, or the largest power of two that the model takes and that fits the text twice."""
    most = min(CONTEXT, limit or CONTEXT, tokens // 2)
    if most < SHORTEST:
        raise StageError(
            FailureReason.DATASET_INVALID,
            f"{name}: {tokens} tokens are too few to measure perplexity on",
            f"Give a text of at least {2 * SHORTEST} tokens; some ten thousand make a steady number.",
        )
    return 1 << (most.bit_length() - 1)


def windows(ids: Sequence[int], size: int, begin: int | None) -> Iterator[list[int]]:
    """Whole windows of a text's tokens; `begin` replaces the first token of each."""
    for start in range(0, len(ids) - size + 1, size):
        window = list(ids[start : start + size])
        if begin is not None:
            window[0] = begin
        yield window


def _sum_up(
    ids: Sequence[int],
    size: int,
    begin: int | None,
    losses: Callable[[list[int]], float],
    most: int | None,
    progress: Progress,
    stopping: Callable[[], bool],
) -> Perplexity:
    """Score every window; `losses` returns the summed negative log-likelihood of a window's second half."""
    ids = ids if most is None else ids[: most * size]
    total, count, started = len(ids) // size, 0, time.monotonic()
    loss = 0.0
    for done, window in enumerate(windows(ids, size, begin), 1):
        if stopping():
            raise StageError(FailureReason.INTERRUPTED, f"interrupted after {done - 1} of {total} windows")
        loss += losses(window)
        count += size - 1 - size // 2
        progress(done, total)
    speed = total * size / max(time.monotonic() - started, 1e-9)
    # A loss that is not a number stays one, and one too large for exp is infinite: the caller says which model it was.
    value = math.exp(min(loss / count, 700.0)) if math.isfinite(loss) else math.nan
    return Perplexity(value, count, size, total, speed)


def _with_transformers(
    folder: Path, words: str, name: str, most: int | None, progress: Progress, stopping: Callable[[], bool]
) -> Perplexity:
    from speechless.generate.hf import HuggingFace

    with HuggingFace(folder) as loaded:
        ids = loaded.encode(words)
        size = window_for(len(ids), loaded.context_length, name)
        alone = loaded.encode("")
        begin = alone[0] if alone else None
        return _sum_up(ids, size, begin, _losses(loaded.model, size), most, progress, stopping)


def _losses(model: Any, size: int) -> Callable[[list[int]], float]:
    """The summed negative log-likelihood of a window's second half, by a model of Transformers."""
    import torch

    first = size // 2

    def losses(window: list[int]) -> float:
        with torch.inference_mode():
            batch = torch.tensor([window], device=model.device)
            logits = model(input_ids=batch).logits[0, first:-1].float()
            loss = torch.nn.functional.cross_entropy(logits, batch[0, first + 1 :], reduction="none")
            return float(loss.double().sum())

    return losses


def _by_transformers(
    model: Path, words: str, name: str, most: int | None, progress: Progress, stopping: Callable[[], bool]
) -> Perplexity:
    """A GGUF file where llama-perplexity is not installed: the tokens are llama.cpp's, and Transformers computes.

    The weights are those of the file, as they were rounded. llama.cpp rounds what flows between them, too, so that its
    own figure is another one, in the third digit or so.
    """
    from speechless.generate.llamacpp.server import LlamaServer
    from speechless.generate.llamacpp.tools import find_server
    from speechless.models.gguf import read_header

    with LlamaServer(model, program=find_server()) as server:
        ids = server.tokenize(words, parse_special=False)
        alone = server.tokenize("")
    size = window_for(len(ids), read_header(model).context_length, name)
    losses = _losses(_load_gguf(model), size)
    return _sum_up(ids, size, alone[0] if alone else None, losses, most, progress, stopping)


def _load_gguf(model: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as told

    told.disable_progress_bar()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        loaded = AutoModelForCausalLM.from_pretrained(
            model.parent, gguf_file=model.name, dtype=torch.float32, local_files_only=True
        )
    except (OSError, ValueError, KeyError, ImportError, NotImplementedError) as problem:
        raise StageError(
            FailureReason.MODEL_INVALID,
            f"{model.name}: Transformers cannot load it, and llama-perplexity is not installed: {problem}",
            "Put llama.cpp's llama-perplexity on the PATH, or its folder into SPEECHLESS_LLAMA_BIN.",
        ) from problem
    return loaded.to(device).eval()


TOO_FEW = re.compile(r"tokenizes to only (\d+) tokens")
WINDOWS = re.compile(r"calculating perplexity over (\d+) chunks")
WINDOW_DONE = re.compile(r"\[(\d+)\]([\d.]+|nan|inf),")
ATTEMPTS = 6
"""llama-perplexity ends without waiting for the thread that writes its output (common/log.h asks for a flush before the
end), so on a busy machine its last lines are missing. It is asked again. The one in our images has the flush."""
SHORTEST_TIMING = 0.5
"""Seconds. Below, a speed would be that of this process's polling."""


def _with_tool(
    binary: Path, model: Path, text: Path, most: int | None, progress: Progress, stopping: Callable[[], bool]
) -> Perplexity:
    from speechless.generate.llamacpp.tools import run_tool, tail, thread_flags
    from speechless.models.gguf import read_header

    limit = read_header(model).context_length
    size = window_for(2 * CONTEXT, limit, text.name)
    status, output = 0, ""
    for _attempt in range(ATTEMPTS):
        run = _ToolRun(progress)
        argv: list[str | Path] = [binary, "--model", model, "--file", text, "--ctx-size", str(size)]
        argv += ["--batch-size", str(size), "--no-escape", *thread_flags()]
        argv += [] if most is None else ["--chunks", str(most)]
        status, output = run_tool(argv, on_output=run.follow, stopping=stopping)
        # The tool alone knows how many tokens the text has for this model; it says so and can be asked again.
        if too_few := TOO_FEW.search(output):
            size = window_for(int(too_few[1]), limit, text.name)
        elif status != 0:
            break
        elif run.total and run.done == run.total:
            # The value after the last window is the final one: they are printed by the same sum.
            return Perplexity(run.value, run.total * (size - 1 - size // 2), size, run.total, run.speed(size))
    raise StageError(
        FailureReason.MODEL_INVALID,
        f"{model.name}: llama-perplexity "
        + (f"failed with exit status {status}" if status else f"ended {ATTEMPTS} times without its last line")
        + f"\n{tail(output)}",
        "The last lines are its own log.",
    )


class _ToolRun:
    """What llama-perplexity has printed so far."""

    def __init__(self, progress: Progress) -> None:
        self.total, self.done, self.value = 0, 0, 0.0
        self._progress = progress
        self._output = ""
        self._times: list[tuple[float, int]] = []

    def follow(self, piece: str) -> None:
        """Take the next piece of output, which may end within a line."""
        self._output += piece
        if not self.total and (found := WINDOWS.search(self._output)):
            self.total = int(found[1])
        if self.total and (windows_done := WINDOW_DONE.findall(self._output)):
            number, value = windows_done[-1]
            self.done, self.value = int(number), float(value)
            self._times.append((time.monotonic(), self.done))
            self._progress(self.done, self.total)

    def speed(self, size: int) -> float | None:
        """Prompt tokens a second between the first and the last window that were seen to end."""
        (first, before), (last, after) = self._times[0], self._times[-1]
        return (after - before) * size / (last - first) if last - first >= SHORTEST_TIMING else None
