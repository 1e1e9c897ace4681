"""Merge an adapter into its base model, and prove that the saved model says what the adapter says.

Two numbers, because there are two steps. The sum is made in float32, where merging changes a logit by about 1e-5 (in
bfloat16 by about 1e-2). Then the weights are rounded to the base's types and saved, which costs what the type costs.
The saved folder is read back: each weight has to be, bit by bit, the one that was to be saved, and the logits have to
be within what rounding alone moves them.

Memory: one copy of the model in float32 at a time (4 bytes a parameter), and the adapter; beside it the largest layer
for a moment, the embedding (where it is tied, and the adapter trained one side), the logits of 128 tokens a few times.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechless.contract import FailureReason, Metric
from speechless.errors import StageError
from speechless.finetune import adapter_folder, rope
from speechless.finetune.adapter_folder import AdapterFolder
from speechless.finetune.whole import whole

if TYPE_CHECKING:
    import torch

    from speechless.finetune.compare import Answers
    from speechless.finetune.heads import HeadKind

log = logging.getLogger(__name__)

TOLERANCE = 1e-3
"""Largest difference of a logit in float32 that is accepted, relative to the largest logit (or to 1)."""
ROUNDING = 4.0
"""The saved model may differ by this many times what one more rounding to the base's types does to its logits (at a
usual token, see `compare.spread`). Both move the weights by errors of the same size, so the ratio is near 1. Measured
on random Llama, GPT-2 and Mixtral of 2 to 12 layers, in bfloat16, float16 and float32: 0.3 to 1.2 in 26 merges."""


def never() -> bool:
    """Do not stop."""
    return False


@dataclass(frozen=True)
class _Said:
    """What a model of this merge said before it was given away."""

    tokens: torch.Tensor
    adapter: Answers
    """Of base and adapter, in float32."""
    rounded: Answers
    """Of the merged model with its weights rounded to the base's types."""
    weights: dict[str, int]
    """The fingerprints of those weights."""
    difference: float
    """Of a logit between adapter and merged model, both in float32."""
    noise: float
    """The same, of what `compare.spread` looks at."""
    change: float
    """Of a logit between base and adapter: what was learned."""


def merge(base: Path, adapter: Path, out: Path, stopping: Callable[[], bool] = never) -> tuple[Metric, ...]:
    """Write the base model with the adapter merged into it to `out`, in the base model's own types.

    The vocabulary is the adapter's, if it brings another one with its embeddings, and then so is the tokenizer. Tied
    embeddings stay tied unless the adapter trained one side alone. `out` appears when all is proved; a merge that
    fails or is stopped leaves nothing of it.

    Gives `merge/max_logit_difference` (adapter against merged model in float32), `merge/saved_logit_difference`
    (adapter against the saved folder, computed in float32) and `merge/argmax_agreement` (the share of tokens of a text
    at which both choose the same next token); of a reward model, whose logits are scores, `merge/order_agreement` (the
    share at which both find that the text became better, or worse). StageError: MODEL_INVALID if the adapter cannot be
    merged or does not fit the base, or the models differ; INVALID_SPEC if `out` is not empty; INTERRUPTED if `stopping`
    says so.
    """
    folder = adapter_folder.read(adapter)
    with rope.as_trained(base, adapter) as scaled, whole(out) as partial:
        said = _write(scaled, folder, partial, stopping)
        _give_back()
        difference, (name, agreement) = _prove(scaled, partial, folder.head, said, stopping)
    return (
        Metric(name="merge/max_logit_difference", value=said.difference),
        Metric(name="merge/saved_logit_difference", value=difference),
        Metric(name=f"merge/{name}", value=agreement),
    )


_TELL = "publish the adapter alone (merge: false) and tell us"


def _write(base: Path, folder: AdapterFolder, out: Path, stopping: Callable[[], bool]) -> _Said:
    """Merge in float32, round, save; the model is gone when this returns."""
    import torch
    import transformers

    from speechless.finetune import compare, experts, models, vocabulary

    transformers.utils.logging.disable_progress_bar()
    head = folder.head
    model = models.load_model(base, torch.float32, kind=head)
    model.eval()
    _check(stopping)
    words = vocabulary.settle(model, base, folder)
    head.settle(model, words.tokenizer, base)
    tokens = compare.probe(model, words.tokenizer, words.new)
    plain = compare.answers(model, tokens, head)
    tied = vocabulary.tied_weight(model)
    adapted = adapter_folder.attach(model, folder)
    before = compare.answers(adapted, tokens, head)
    change = compare.largest(plain.logits, before.logits)
    del plain
    _check(stopping)

    # The sum.
    if folder.experts:
        merged = experts.merged(adapted, base)
    else:
        vocabulary.untie(adapted, tied)
        merged = adapter_folder.merged(adapted, folder)
        vocabulary.tie_again(merged, tied)
    after = compare.answers(merged, tokens, head)
    noise = compare.largest(before.state, after.state)
    difference = _within(before, after, "the merged model's logits differ from the adapter's")
    log.info("merged; largest difference of a logit: %.3g", difference)
    _check(stopping)

    # What is saved.
    models.round_to_base(merged, base, keep=True)
    rounded, prints = compare.answers(merged, tokens, head), compare.fingerprints(merged)
    _check(stopping)
    models.save_model(merged, base, out, models.stop_tokens(folder.path), words.folder)
    return _Said(tokens, before, rounded, prints, difference, noise, change)


def _prove(
    base: Path, folder: Path, head: HeadKind, said: _Said, stopping: Callable[[], bool]
) -> tuple[float, tuple[str, float]]:
    """Read what was saved, and compare: the largest difference of a logit, and how often both decide the same."""
    from speechless.finetune import compare, models

    saved = _read_back(folder, head)
    _check(stopping)
    found = compare.answers(saved, said.tokens, head)
    _compare_weights(said.weights, compare.fingerprints(saved))
    _within(said.rounded, found, "the saved model's logits differ from those of what was saved")
    _check(stopping)

    # How much of the difference rounding explains.
    compare.rounded_once_more(saved, base)
    rounding = compare.spread(found.state, compare.answers(saved, said.tokens, head).state)
    spread = compare.spread(said.adapter.state, found.state)
    difference = compare.largest(said.adapter.logits, found.logits)
    dtype = str(models.stored_dtype(base)).removeprefix("torch.")
    told = "saved as %s: logits differ by %.3g at most, %.3g usually (one rounding: %.3g); learned: %.3g"
    log.info(told, dtype, difference, spread, rounding, said.change)
    if not spread <= ROUNDING * rounding + said.noise:
        what = f"the saved model's logits usually differ from the adapter's by {spread:.3g}"
        what += f", and rounding to {dtype} explains {rounding:.3g}"
        raise StageError(FailureReason.MODEL_INVALID, what, _TELL)
    if difference > said.change:
        told = "rounding to %s changes the model more than the adapter did: train longer, or publish the adapter alone"
        log.warning(told, dtype)
    _check(stopping)
    return difference, compare.agreement(said.adapter.logits, found.logits)


def _give_back() -> None:
    """Free the model's memory before it is read again. Its modules refer to each other, so that only gc ends them.

    glibc keeps freed blocks of up to 32 MiB for itself, which is most of a small model's matrices.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another libc
        ctypes.CDLL(None).malloc_trim(0)


def _read_back(folder: Path, head: HeadKind) -> Any:
    import torch

    from speechless.finetune import models

    try:
        model = models.load_model(folder, torch.float32, kind=head)
    except StageError as error:
        what = f"the saved model cannot be read back: {error.message}"
        raise StageError(FailureReason.MODEL_INVALID, what, _TELL) from error
    return model.eval()


def _compare_weights(wanted: dict[str, int], found: dict[str, int]) -> None:
    """Every weight as it was to be saved: also those that no logit of the probe depends on."""
    wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if wrong:
        what = f"{len(wrong)} weights of the saved model are not those that were merged, such as {wrong[0]}"
        raise StageError(FailureReason.MODEL_INVALID, what, _TELL)


def _within(wanted: Answers, found: Answers, what: str) -> float:
    """The largest difference, of logits that are computed in float32 from weights that are the same in float32."""
    difference = (wanted.logits - found.logits).abs().max().item()
    if not difference <= TOLERANCE * max(1.0, wanted.logits.abs().max().item()):  # also for NaN
        raise StageError(FailureReason.MODEL_INVALID, f"{what} by {difference:.3g}", _TELL)
    return difference


def _check(stopping: Callable[[], bool]) -> None:
    if stopping():
        what = "stopped by a signal while merging; nothing was written"
        raise StageError(FailureReason.INTERRUPTED, what, "the adapter is there; merge it again")
