"""From an example to tokens and labels: which tokens a model sees, and which of them it learns.

A label is the token's own id where it is learned and -100 where it is not (PyTorch's `ignore_index`).

Text: the prompt as the tokenizer encodes it alone (that is what the model is given later), then the text and the end of
text; learned are the text and the end. Conversation: the ids that the tokenizer's `apply_chat_template` makes, whatever
its chat template; learned is what the assistant has to say in its turns, with the tokens that end them, but for those
turns that the row leaves out (see `template.py`).
"""

import dataclasses
import logging
from collections.abc import Callable
from typing import Any

from speechless.contract import FailureReason
from speechless.data import prompt_types
from speechless.data.dataset import Placed
from speechless.data.examples import Conversation, Message, Preference, Rated, Role, Text
from speechless.data.masks import IGNORED, Tokens, encode
from speechless.data.template import ChatTemplate, Tools
from speechless.data.turns import alike
from speechless.errors import StageError

log = logging.getLogger(__name__)

__all__ = ["IGNORED", "Renderer", "Tokens", "encoder_for", "open_prompt", "text", "turn_ends"]

Pair = tuple[list[int], list[int], list[int]]
"""(prompt, chosen, rejected): token ids."""


def encoder_for(tokenizer: Any) -> Callable[[Placed], Tokens]:
    """What encodes the examples of a dataset; StageError names the row that cannot be.

    Of a pair of answers it is the prompt with the longer one: what `maxLength` has to hold.
    """
    renderer = Renderer(tokenizer)

    def encoder(row: Placed) -> Tokens:
        match row.example:
            case Text() as example:
                return text(example, tokenizer)
            case Conversation() as example:
                return renderer.conversation(example, row.where)
            case Preference() as example:
                prompt, chosen, rejected = renderer.preference(example, row.where)
                answer = max(chosen, rejected, key=len)
                return prompt + answer, [IGNORED] * len(prompt) + answer
            case Rated() as example:
                return encoder(Placed(row.where, example.answer))
            case other:
                what = f"{row.where}: a row of the kind {type(other).__name__} holds no answer to learn from"
                raise StageError(
                    FailureReason.DATASET_INVALID, what, "no objective learns from such rows yet"
                )

    return encoder


class Renderer:
    """Examples as token ids, by a tokenizer and its chat template (or `template`, in Jinja, in its place).

    A conversation that names a prompt type is rendered by that one.
    """

    def __init__(self, tokenizer: Any, template: str | None = None) -> None:
        """Nothing is asked of a template before the first messages come: texts need none."""
        self.tokenizer = tokenizer
        self._template = template
        self._templates: dict[str, ChatTemplate] = {}  # by source: a tokenizer may have one more for tools
        self._told = False

    def conversation(self, example: Conversation, where: str) -> Tokens:
        """Ids as `apply_chat_template` makes them; labels for the assistant's turns that are to be trained.

        StageError(DATASET_INVALID) with the row's place (`where`) where the template refuses the conversation or a turn
        cannot be told from the rest; StageError(MODEL_INVALID) where there is no template, or it fits no conversation.
        """
        rendered = self._template_for(example).conversation(example, where)
        if rendered.hidden and not self._told:
            self._told = True
            log.warning(
                "%s: the chat template leaves out or changes words of the assistant, such as its reasoning; "
                "what is left out is not learned (told of the first such row only)",
                where,
            )
        return encode(self.tokenizer, rendered.text, rendered.learned, where)

    def completion(
        self, prompt: tuple[Message, ...] | str, answer: tuple[Message, ...] | str, where: str
    ) -> tuple[list[int], list[int]]:
        """(prompt, answer): token ids. The prompt is open for the answer, which ends as a learned turn does.

        Of messages the answer goes from its first learned token to its last; an answer of several turns has the
        user's words between them, and an answer that shows nothing is empty. Errors as of `conversation`.
        """
        ids, labels = self.answered(prompt, answer, where)
        learned = [place for place, label in enumerate(labels) if label != IGNORED]
        if not learned:
            return ids, []
        return ids[: learned[0]], ids[learned[0] : learned[-1] + 1]

    def answered(
        self, prompt: tuple[Message, ...] | str, answer: tuple[Message, ...] | str, where: str
    ) -> Tokens:
        """Ids of a prompt with the answer to it, whole; labels for the answer. Errors as of `conversation`.

        Of messages they are what `apply_chat_template` makes of all of them, with what the template writes at the end.
        """
        if isinstance(prompt, str):
            if not isinstance(answer, str):
                what = f"{where}: the prompt is a text, and an answer is messages"
                raise StageError(FailureReason.DATASET_INVALID, what, "write all of them as one or the other")
            return text(Text(answer, prompt), self.tokenizer)
        said = (Message(Role.ASSISTANT, answer),) if isinstance(answer, str) else answer
        asked = tuple(dataclasses.replace(message, trained=False) for message in prompt)
        return self.conversation(Conversation((*asked, *said)), where)

    def preference(self, example: Preference, where: str) -> Pair:
        """(prompt, chosen, rejected): token ids of a prompt and of two answers, each as `completion` makes it.

        Where the seam of one answer falls into a token, both begin at the token before it.
        """
        first, chosen = self.completion(example.prompt, example.chosen, where)
        second, rejected = self.completion(example.prompt, example.rejected, where)
        if not chosen or not rejected:
            return (first if chosen else second), chosen, rejected
        kept = alike(first, second)
        return first[:kept], first[kept:] + chosen, second[kept:] + rejected

    def _template_for(self, example: Conversation) -> ChatTemplate:
        named = prompt_types.source(example.prompt_type) if example.prompt_type else None
        template = named or self._template
        if not template and not self.tokenizer.chat_template:
            what = "the tokenizer has no chat template, and the rows are messages"
            hint = "name a prompt type (--prompt_type alpaca; in a FineTune, tokenizer.promptType) or a chat template"
            raise StageError(FailureReason.MODEL_INVALID, what, f"{hint}, or bring prompts and completions")
        source = _source(self.tokenizer, template, example.tools)
        if source not in self._templates:
            self._templates[source] = ChatTemplate(self.tokenizer, source, example.tools)
            if not _ends(self.tokenizer, self._templates[source], last=True):
                log.warning("the chat template ends an answer with no special token: the model may not stop")
        return self._templates[source]


def turn_ends(tokenizer: Any, template: str | None = None) -> tuple[int, ...]:
    """Ids of the special tokens that end an answer by the tokenizer's chat template, or by `template` (Jinja).

    One id: the last token that is learned of an answer that ends a conversation, or, where that is no special token, of
    one that the user goes on from. None: the template ends answers with words or with nothing, or there is no template.
    StageError(MODEL_INVALID) if the template fits no conversation.
    """
    if not template and not tokenizer.chat_template:
        return ()
    found = ChatTemplate(tokenizer, _source(tokenizer, template))
    return _ends(tokenizer, found, last=True) or _ends(tokenizer, found, last=False)


def _ends(tokenizer: Any, template: ChatTemplate, *, last: bool) -> tuple[int, ...]:
    """The token that ends an answer, if it is a special one: an answer that ends a conversation (`last`), or not."""
    rendered = template.answer(last=last)
    if rendered is None:
        return ()
    labels = encode(tokenizer, rendered.text, rendered.learned, "")[1]
    said = [label for label in labels if label != IGNORED]
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    return tuple(said[-1:]) if said and said[-1] in special else ()


def _source(tokenizer: Any, template: str | None, tools: Tools = ()) -> str:
    """The Jinja of the template that a tokenizer takes."""
    try:
        source: str = tokenizer.get_chat_template(template, list(tools) or None)
    except ValueError as error:
        what = f"the tokenizer has no chat template to take: {error}"
        raise StageError(FailureReason.MODEL_INVALID, what, "name a chat template") from error
    return source


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
