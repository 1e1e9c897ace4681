"""From an example to tokens and labels: which tokens a model sees, and which of them it learns.

A label is the token's own id where it is learned and -100 where it is not (PyTorch's `ignore_index`).

Text: the prompt as the tokenizer encodes it alone (that is what the model is given later), then the text and the end of
text; learned are the text and the end. Conversation: the tokenizer's chat template; learned are the assistant's turns,
as marked by `{% generation %}` in the template, but for those that the row leaves out.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from speechless.contract import FailureReason
from speechless.data.dataset import Placed
from speechless.data.examples import Conversation, Message, Preference, Role, Text
from speechless.errors import StageError

log = logging.getLogger(__name__)

IGNORED = -100
_TEMPLATE_HINT = (
    "mark the assistant's words with {% generation %} and {% endgeneration %} in the chat template"
)

Tokens = tuple[list[int], list[int]]
"""(ids, labels), of the same length."""


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model folder; StageError(MODEL_INVALID) if there is none or it knows no end of text."""
    from transformers import AutoTokenizer

    if not (folder / "config.json").is_file():
        told = f"{folder.name}: no config.json: this is no Hugging Face model folder"
        raise StageError(FailureReason.MODEL_INVALID, told, "name the folder that holds config.json")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().partition("\n")[0]
        told = f"{folder.name}: the tokenizer cannot be loaded: {first[:300]}"
        raise StageError(FailureReason.MODEL_INVALID, told, "check the model's files") from error
    if tokenizer.eos_token_id is None:
        what = f"{folder.name}: the tokenizer has no eos_token: the model could not learn to stop"
        raise StageError(FailureReason.MODEL_INVALID, what, "set eos_token in tokenizer_config.json")
    tokenizer.padding_side = "right"
    return tokenizer


def encoder_for(tokenizer: Any) -> Callable[[Placed], Tokens]:
    """What encodes the examples of a dataset; StageError names the row that cannot be.

    Of a pair of answers it is the prompt with the longer one: what `maxLength` has to hold.
    """
    templates: list[str] = []  # found when the first conversation comes

    def encoder(row: Placed) -> Tokens:
        match row.example:
            case Text() as example:
                return text(example, tokenizer)
            case Conversation() as example:
                if not templates:
                    templates.append(training_template(tokenizer))
                return conversation(example, tokenizer, templates[0], row.where)
            case Preference() as example:
                prompt, chosen, rejected = preference(example, tokenizer, row.where)
                answer = max(chosen, rejected, key=len)
                return prompt + answer, [IGNORED] * len(prompt) + answer
            case other:
                what = f"{row.where}: a row of the kind {type(other).__name__} holds no answer to learn from"
                raise StageError(
                    FailureReason.DATASET_INVALID, what, "no objective learns from such rows yet"
                )

    return encoder


def open_prompt(prompt: str, tokenizer: Any) -> list[int]:
    """Tokens of a prompt that is gone on from: with what the tokenizer puts before it, without an end after it.

    Some tokenizers close every text (`add_eos_token`); what a model is given to go on from must be open.
    """
    plain: list[int] = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    if not plain:
        plain, prompt, kept = tokenizer("a", add_special_tokens=False)["input_ids"], "a", 0
    else:
        kept = len(plain)
    whole: list[int] = tokenizer(prompt)["input_ids"]
    for before in range(len(whole) - len(plain) + 1):
        if whole[before : before + len(plain)] == plain:
            return whole[: before + kept]
    return whole  # it puts something in the middle: nothing is known of it


def text(example: Text, tokenizer: Any) -> Tokens:
    """Tokens of a prompt and what follows it; special tokens before the prompt are the tokenizer's own choice."""
    prompt = open_prompt(example.prompt, tokenizer)
    whole: list[int] = tokenizer(example.prompt + example.text)["input_ids"]
    if whole[: len(prompt)] == prompt:
        completion = whole[len(prompt) :]
    else:
        # The seam falls into a token. When the model is used, its input ends at the seam, so that is what it learns.
        completion = tokenizer(example.text, add_special_tokens=False)["input_ids"]
    if not completion or completion[-1] != tokenizer.eos_token_id:
        completion = [*completion, tokenizer.eos_token_id]
    return prompt + completion, [IGNORED] * len(prompt) + completion


def conversation(example: Conversation, tokenizer: Any, template: str, where: str) -> Tokens:
    """Tokens of a conversation by the chat template; learned are the assistant's turns that are to be trained.

    StageError(DATASET_INVALID) with the row's place where the template refuses the conversation.
    """
    import jinja2

    try:
        encoded = tokenizer.apply_chat_template(
            [message.to_template() for message in example.messages],
            tools=list(example.tools) or None,
            chat_template=template,
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
    except (jinja2.TemplateError, TypeError) as error:
        what = f"{where}: the chat template refuses the conversation: {error}"
        raise StageError(
            FailureReason.DATASET_INVALID, what, "correct the row, or bring another chat template"
        ) from error
    ids: list[int] = encoded["input_ids"]
    mask = _chosen(encoded["assistant_masks"], example, where)
    return ids, [token if learned else IGNORED for token, learned in zip(ids, mask, strict=True)]


def _chosen(mask: Sequence[int], example: Conversation, where: str) -> Sequence[int]:
    """The mask without the turns that the row leaves out: the n-th run of ones is the assistant's n-th turn."""
    turns = [message.trained for message in example.messages if message.role is Role.ASSISTANT]
    if all(turns):
        return mask
    chosen, run, before = list(mask), -1, 0
    for place, marked in enumerate(mask):
        run += marked and not before
        before = marked
        if marked and run < len(turns) and not turns[run]:
            chosen[place] = 0
    if run + 1 != len(turns):
        what = f"{where}: the chat template shows {run + 1} of {len(turns)} turns of the assistant"
        raise StageError(
            FailureReason.DATASET_INVALID, what, "turns cannot be left out of training with this template"
        )
    return chosen


def preference(example: Preference, tokenizer: Any, where: str) -> tuple[list[int], list[int], list[int]]:
    """(prompt, chosen, rejected): token ids. Each answer goes on from the prompt and is closed, as `text` closes one.

    Of messages, by the tokenizer's chat template; an answer begins where its tokens leave the prompt's.
    """
    if isinstance(example.prompt, str):
        if not isinstance(example.chosen, str) or not isinstance(example.rejected, str):
            what = f"{where}: the prompt is a text, and an answer is messages"
            raise StageError(FailureReason.DATASET_INVALID, what, "write all of them as one or the other")
        both = [
            text(Text(answer, example.prompt), tokenizer)[0] for answer in (example.chosen, example.rejected)
        ]
        prompt = open_prompt(example.prompt, tokenizer)
    else:
        prompt = _rendered(example.prompt, tokenizer, where, answer=True)
        both = [
            _rendered((*example.prompt, *_messages(answer)), tokenizer, where, answer=False)
            for answer in (example.chosen, example.rejected)
        ]
    kept = min(_common(prompt, ids) for ids in both)
    return prompt[:kept], both[0][kept:], both[1][kept:]


def _messages(answer: tuple[Message, ...] | str) -> tuple[Message, ...]:
    return (Message(Role.ASSISTANT, answer),) if isinstance(answer, str) else answer


def _rendered(messages: Sequence[Message], tokenizer: Any, where: str, *, answer: bool) -> list[int]:
    """Token ids by the tokenizer's own chat template; `answer`: open for the assistant's answer."""
    import jinja2

    if not tokenizer.chat_template:
        what = "the tokenizer has no chat template, and the rows are messages"
        raise StageError(FailureReason.MODEL_INVALID, what, "add a chat template, or bring texts")
    try:
        ids: list[int] = tokenizer.apply_chat_template(
            [message.to_template() for message in messages],
            add_generation_prompt=answer,
            tokenize=True,
            return_dict=True,
        )["input_ids"]
    except (jinja2.TemplateError, TypeError) as error:
        what = f"{where}: the chat template refuses the messages: {error}"
        raise StageError(
            FailureReason.DATASET_INVALID, what, "correct the row, or bring another chat template"
        ) from error
    return ids


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    return next(
        (at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]),
        min(len(one), len(other)),
    )


def training_template(tokenizer: Any) -> str:
    """The tokenizer's chat template, or TRL's twin of it that marks the assistant's turns.

    StageError(MODEL_INVALID) if there is no template, or one that does not mark them: such a run would look healthy and
    learn nothing.
    """
    from trl.chat_template_utils import get_training_chat_template, is_chat_template_stop_token_trained

    if not tokenizer.chat_template:
        what = "the tokenizer has no chat template, and the rows are conversations"
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
