"""From rows to tokens and labels: which tokens a model sees, and which of them it learns.

A label is the token's own id where it is learned and -100 where it is not (PyTorch's `ignore_index`).

PromptCompletion: the prompt as the tokenizer encodes it alone (that is what the model is given later), then the
completion and the end of text; learned are the completion and the end. Messages: the tokenizer's chat template; learned
are the assistant's turns, as marked by `{% generation %}` in the template.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechless.contract import DatasetFormat, FailureReason
from speechless.data import Row, Survey, read_rows
from speechless.errors import StageError

log = logging.getLogger(__name__)

IGNORED = -100
_TEMPLATE_HINT = (
    "mark the assistant's words with {% generation %} and {% endgeneration %} in the chat template"
)

Tokens = tuple[list[int], list[int]]
"""(ids, labels), of the same length."""


@dataclass
class Counts:
    """What became of the rows of a split."""

    rows: int = 0
    tokens: int = 0
    learned: int = 0
    """Tokens that are learned."""
    cut: int = 0
    """Rows longer than the limit: their end was cut off."""
    dropped: int = 0
    """Rows with nothing left to learn after the cut."""


def encode(
    data: Survey, tokenizer: Any, max_length: int, *, heldout: bool, scratch: Path
) -> tuple[Any, Counts]:
    """A `datasets.Dataset` with the columns input_ids and labels (lists of integers), on disk, and its counts.

    StageError(DATASET_INVALID) if no row has anything to learn.
    """
    import datasets
    from datasets.arrow_writer import ArrowWriter

    features = datasets.Features(
        {
            "input_ids": datasets.List(datasets.Value("int32")),
            "labels": datasets.List(datasets.Value("int32")),
        }
    )
    split = "heldout" if heldout else "train"
    file, counts = scratch / f"{split}.arrow", Counts()
    with ArrowWriter(path=str(file), features=features) as writer:
        rows = read_rows(data, heldout=heldout)
        for ids, labels in _within(rows, _encoder(data.format, tokenizer), max_length, counts):
            writer.write({"input_ids": ids, "labels": labels})
        writer.finalize()
    log.info(
        "%s: %d rows, %d tokens, %d of them learned; %d rows cut at %d tokens, %d dropped: nothing left to learn",
        *(split, counts.rows, counts.tokens, counts.learned, counts.cut, max_length, counts.dropped),
    )
    if not counts.rows:
        what = f"{data.files[0].name}: no row has a token to learn within maxLength ({max_length})"
        raise StageError(FailureReason.DATASET_INVALID, what, "raise maxLength, or shorten the prompts")
    return datasets.Dataset.from_file(str(file)), counts


def _within(
    rows: Iterator[Row], encoder: Callable[[Row], Tokens], max_length: int, counts: Counts
) -> Iterator[Tokens]:
    """The rows' tokens, cut to `max_length`, without rows that teach nothing."""
    for row in rows:
        ids, labels = encoder(row)
        if len(ids) > max_length:
            counts.cut += 1
            ids, labels = ids[:max_length], labels[:max_length]
        # The first token is never predicted, so its label counts for nothing.
        learned = sum(label != IGNORED for label in labels[1:])
        if not learned:
            counts.dropped += 1
            continue
        counts.rows, counts.tokens, counts.learned = (
            counts.rows + 1,
            counts.tokens + len(ids),
            counts.learned + learned,
        )
        yield ids, labels


def _encoder(row_format: DatasetFormat, tokenizer: Any) -> Callable[[Row], Tokens]:
    if row_format is DatasetFormat.PROMPT_COMPLETION:
        return lambda row: prompt_completion(row, tokenizer)
    template = training_template(tokenizer)
    return lambda row: messages(row, tokenizer, template)


def prompt_completion(row: Row, tokenizer: Any) -> Tokens:
    """Tokens of a prompt and its completion; special tokens before the prompt are the tokenizer's own choice."""
    prompt: list[int] = tokenizer(row["prompt"])["input_ids"]
    # Some tokenizers close every text; a prompt that is gone on from must be open.
    if prompt and prompt[-1] == tokenizer.eos_token_id:
        prompt = prompt[:-1]
    whole: list[int] = tokenizer(row["prompt"] + row["completion"])["input_ids"]
    if whole[: len(prompt)] == prompt:
        completion = whole[len(prompt) :]
    else:
        # The seam falls into a token. When the model is used, its input ends at the seam, so that is what it learns.
        completion = tokenizer(row["completion"], add_special_tokens=False)["input_ids"]
    if not completion or completion[-1] != tokenizer.eos_token_id:
        completion = [*completion, tokenizer.eos_token_id]
    return prompt + completion, [IGNORED] * len(prompt) + completion


def messages(row: Row, tokenizer: Any, template: str) -> Tokens:
    """Tokens of a conversation by the chat template; learned are the assistant's turns."""
    encoded = tokenizer.apply_chat_template(
        row["messages"],
        chat_template=template,
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    ids, mask = encoded["input_ids"], encoded["assistant_masks"]
    return ids, [token if learned else IGNORED for token, learned in zip(ids, mask, strict=True)]


def training_template(tokenizer: Any) -> str:
    """The tokenizer's chat template, or TRL's twin of it that marks the assistant's turns.

    StageError(MODEL_INVALID) if there is no template, or one that does not mark them: such a run would look healthy and
    learn nothing.
    """
    from trl.chat_template_utils import get_training_chat_template, is_chat_template_stop_token_trained

    if not tokenizer.chat_template:
        what = "the tokenizer has no chat template, and the dataset's format is Messages"
        raise StageError(
            FailureReason.MODEL_INVALID, what, "add a chat template, or bring prompts and completions"
        )
    try:
        patched = get_training_chat_template(tokenizer)
    except ValueError as error:
        what = "the chat template does not mark what the assistant says, so there is nothing to learn from"
        raise StageError(FailureReason.MODEL_INVALID, what, _TEMPLATE_HINT) from error
    if not is_chat_template_stop_token_trained(tokenizer, chat_template=patched):
        log.warning(
            "the chat template leaves the end of a turn out of what is learned: the model may not stop"
        )
    template: str = patched or tokenizer.chat_template
    return template
