"""A chat template with a tokenizer's special tokens: the text of a conversation, and what of it is learned.

Learned is what the model has to say in the assistant's turns, with the token that ends each. A template that marks it
with `{% generation %}` is taken at its word (Transformers' assistant mask, in characters). For any other template
`turns.py` finds it. Either way the text is the template's own, as it is when the model is used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

from speechless.contract import FailureReason
from speechless.data.examples import Conversation, Message, Role
from speechless.data.turns import Closing, LostTurnError, Messages, Span, Turns, closing_of
from speechless.errors import StageError

Tools = Sequence[dict[str, Any]]
MARK_HINT = "mark the assistant's words in the template with {% generation %} and {% endgeneration %}, or bring another"
_MARKS = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")
_PROBE = (
    Message(Role.USER, "qzfirst"),
    Message(Role.ASSISTANT, "qzsecond"),
    Message(Role.USER, "qzthird"),
    Message(Role.ASSISTANT, "qzfourth"),
)


class Rendered(NamedTuple):
    """A conversation as text."""

    text: str
    learned: list[Span]
    """In their order, and apart."""
    hidden: int
    """Turns that are learned of which the template does not show all words."""


class ChatTemplate:
    """One Jinja template.

    StageError(MODEL_INVALID) if it cannot render a question and its answer, or the answer cannot be told from the rest.
    """

    def __init__(self, tokenizer: Any, source: str, tools: Tools = ()) -> None:
        """`tools`: of the first conversation; a template may want some."""
        self.source = source
        self._name = f"the chat template of {PurePath(tokenizer.name_or_path or 'the tokenizer').name}"
        self._variables = dict(tokenizer.special_tokens_map)
        tokens = {str(token) for token in tokenizer.added_tokens_decoder.values()}
        tokens |= set(tokenizer.all_special_tokens)
        words = sorted(filter(None, tokens), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, words)) or r"(?!)")
        self._marked = bool(_MARKS.search(source))
        self._closing = Closing()
        self._proven: list[Conversation] = []
        self._try(tools, tokenizer.bos_token or "")

    def render(self, messages: Messages, tools: Tools = (), *, answer: bool = False) -> str:
        """Messages as text; `answer`: open for the assistant's answer. Errors are Jinja's and the template's own."""
        return self._rendered(messages, tools, answer=answer)[0]

    def conversation(self, example: Conversation, where: str) -> Rendered:
        """The text of a conversation, and what is learned of it.

        StageError(DATASET_INVALID) with the row's place (`where`) and the turn if the template refuses the conversation
        or a turn cannot be found.
        """
        import jinja2

        try:
            return self._conversation(example)
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            what = f"{where}: {self._name} refuses the conversation: {error}"
            hint = "correct the row, or bring another chat template"
            raise StageError(FailureReason.DATASET_INVALID, what, hint) from error
        except LostTurnError as lost:
            what = f"{where}: turn {lost.turn} of the assistant cannot be told in what {self._name} makes: {lost}"
            raise StageError(FailureReason.DATASET_INVALID, what, MARK_HINT) from lost

    def answer(self, *, last: bool) -> Rendered | None:
        """A plain answer that ends a conversation (`last`), or one that the user goes on from.

        None: the template does not take two questions.
        """
        if last:
            return self._conversation(self._proven[0])
        if len(self._proven) == 1:
            return None
        rendered = self._conversation(self._proven[1])
        border = rendered.text.find(_PROBE[2].content)
        return rendered._replace(learned=[span for span in rendered.learned if span.end <= border])

    def _conversation(self, example: Conversation, *, again: bool = True) -> Rendered:
        messages = [message.to_template() for message in example.messages]
        try:
            text, marks = self._rendered(messages, example.tools)
        except TypeError:
            # Some templates (DeepSeek-V3's) want what a tool is called with as a text.
            messages = _with_arguments_as_text(messages)
            text, marks = self._rendered(messages, example.tools)
        turns = Turns(
            lambda some, answer: self.render(some, example.tools, answer=answer),
            *(messages, text, self._closing, self._special),
        )
        trained = [place for place in turns.places if example.messages[place].trained]
        try:
            if not self._marked:
                learned = turns.spans(trained)
            elif len(trained) == len(turns.places):
                learned = marks
            else:
                every = dict(zip(turns.places, turns.spans(turns.places), strict=True))
                learned = _without(marks, every, trained)
        except LostTurnError:
            # A template may show the time, and that has gone on: once more.
            if again and self.render(messages, example.tools) != text:
                return self._conversation(example, again=False)
            raise
        hidden = 0
        if not self._marked:
            shown = zip(trained, learned, strict=True)
            hidden = sum(
                messages[place]["content"].strip() not in text[slice(*span)] for place, span in shown
            )
        return Rendered(text, learned, hidden)

    def _rendered(self, messages: Messages, tools: Tools, *, answer: bool = False) -> tuple[str, list[Span]]:
        from transformers.utils.chat_template_utils import render_jinja_template

        texts, spans = render_jinja_template(
            conversations=[list(messages)],
            tools=list(tools) or None,
            chat_template=self.source,
            add_generation_prompt=answer,
            return_assistant_tokens_mask=self._marked,
            **self._variables,
        )
        return texts[0], [Span(*span) for span in spans[0] if span[1] > span[0]] if self._marked else []

    def _try(self, tools: Tools, begin_of_text: str) -> None:
        """Render a question and its answer, and two of them, to see how an answer is closed and whether it is found."""
        import jinja2

        system: tuple[Message, ...] = ()
        try:
            ended = self._behind(_PROBE[:2], tools)
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            system = (Message(Role.SYSTEM, "qzsystem"),)  # some template may want one
            try:
                ended = self._behind((*system, *_PROBE[:2]), tools)
            except (jinja2.TemplateError, TypeError, ValueError):
                what = f"{self._name} refuses a question and its answer: {error}"
                raise self._unfit(what, "bring another one") from error
        if ended is None:
            raise self._unfit(f"{self._name} does not show what the assistant says", "bring another one")
        try:
            more = self._behind((*system, *_PROBE), tools)
        except (jinja2.TemplateError, TypeError, ValueError):
            more = None  # a template for one question alone
        between = (ended if more is None else more).partition(_PROBE[2].content)[0]
        self._closing = closing_of(ended, between, self._special, begin_of_text)
        # Marks that mark nothing are none.
        self._marked &= bool(
            self._rendered([message.to_template() for message in (*system, *_PROBE[:2])], tools)[1]
        )
        self._prove(Conversation((*system, *_PROBE[:2]), tuple(tools)))
        if more is not None:  # the first answer is shown, and so are all
            self._prove(Conversation((*system, *_PROBE), tuple(tools)))

    def _behind(self, messages: tuple[Message, ...], tools: Tools) -> str | None:
        """What follows the probe's first answer; None if that is not shown."""
        text = self.render([message.to_template() for message in messages], tools)
        _, found, behind = text.partition(_PROBE[1].content)
        return behind if found else None

    def _prove(self, example: Conversation) -> None:
        """StageError(MODEL_INVALID) unless all that the assistant says is found, and nothing else."""
        try:
            found = self._conversation(example)
        except LostTurnError as lost:
            what = f"what the assistant says cannot be told in what {self._name} makes: {lost}"
            raise self._unfit(what) from lost
        learned = "|".join(found.text[slice(*span)] for span in found.learned)
        for message in example.messages:
            if (message.content in learned) != (message.role is Role.ASSISTANT):
                where = "outside" if message.role is Role.ASSISTANT else "inside"
                what = f"{self._name} shows what the {message.role} says {where} the assistant's turns"
                raise self._unfit(what)
        self._proven.append(example)

    @staticmethod
    def _unfit(what: str, hint: str = MARK_HINT) -> StageError:
        return StageError(FailureReason.MODEL_INVALID, what, hint)


def _with_arguments_as_text(messages: Messages) -> list[dict[str, Any]]:
    """Messages whose calls of tools have their arguments as JSON text, as OpenAI has them."""
    changed = []
    for message in map(dict, messages):
        if calls := message.get("tool_calls"):
            functions = [call["function"] for call in calls]
            texts = [json.dumps(function["arguments"], ensure_ascii=False) for function in functions]
            message["tool_calls"] = [
                call | {"function": call["function"] | {"arguments": text}}
                for call, text in zip(calls, texts, strict=True)
            ]
        changed.append(message)
    return changed


def _without(marks: list[Span], turns: dict[int, Span], trained: list[int]) -> list[Span]:
    """The marked parts but for those of turns that are left out. LostTurnError if a part belongs to both kinds."""
    kept = []
    for mark in marks:
        owners = [
            place
            for place, turn in turns.items()
            if mark.start < max(turn.end, turn.start + 1) and turn.start < mark.end
        ]
        left = [place for place in owners if place not in trained]
        if not left:
            kept.append(mark)
        elif len(left) < len(owners):
            number = [*turns].index(left[0]) + 1
            raise LostTurnError(
                number, "it is left out of training, and marked together with one that is not"
            )
    return kept
