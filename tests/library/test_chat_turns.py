"""Turns that a template alters, moves, marks or merges, and what is refused because it cannot be told."""

from __future__ import annotations

import copy
import logging
import re
from dataclasses import replace
from typing import Any

import pytest

from speechless.contract import FailureReason
from speechless.data import Conversation, Message, Role
from speechless.data.render import Renderer, turn_ends
from speechless.data.template import ChatTemplate
from speechless.data.turns import Closing, closing_of
from speechless.errors import StageError
from tests.library.chat_fixtures import DEEPSEEK_END, EOS, applied, learned, talk, tokenizer

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MARKED = CHATML.replace(
    "{{ m.content }}<|im_end|>",
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}"
    "{% else %}{{ m.content }}<|im_end|>{% endif %}",
)
TOOLS = ({"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}},)
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": {"a": 2}}}
CALLING = (
    Message(Role.USER, "2+2?"),
    Message(Role.ASSISTANT, "", tool_calls=(CALL,)),
    Message(Role.TOOL, "4", name="add", tool_call_id="c1"),
    Message(Role.ASSISTANT, "It is 4."),
    Message(Role.USER, "3+3?"),
    Message(Role.ASSISTANT, "Let me see.", tool_calls=(CALL, CALL)),
    Message(Role.TOOL, "add 4", name="add", tool_call_id="c1"),
    Message(Role.TOOL, "4", name="add", tool_call_id="c1"),
    Message(Role.ASSISTANT, "It is 4, add."),
)


def said(
    form: str, messages: tuple[Message, ...], *, tools: Any = (), template: str | None = None
) -> list[str]:
    """What is learned under a form's tokens; the ids have to be Transformers' own."""
    made = tokenizer(form)
    if template is not None:
        made = copy.copy(made)
        made.chat_template = template
    encoded = Renderer(made).conversation(Conversation(messages, tuple(tools)), "rows:7")
    assert encoded[0] == applied(made, messages, tools)
    return learned(made, encoded)


def refused(messages: tuple[Message, ...], template: str, form: str = "chatml") -> StageError:
    with pytest.raises(StageError) as error:
        said(form, messages, template=template)
    return error.value


def test_earlier_reasoning_is_not_shown_and_the_last_is_learned(caplog: pytest.LogCaptureFixture) -> None:
    thinking = talk(
        "sum x", "<think>\nhm\n</think>\n\nreturn 1", "max x", "<think>\nwell\n</think>\n\nreturn 2"
    )
    assert said("qwen3", thinking) == ["return 1<|im_end|>", "<think>\nwell\n</think>\n\nreturn 2<|im_end|>"]
    (told,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert told.startswith("rows:7: the chat template leaves out or changes words of the assistant")
    left_out = (*thinking[:3], replace(thinking[3], trained=False))
    assert said("qwen3", left_out) == ["return 1<|im_end|>"]


def test_reasoning_between_calls_of_tools_is_shown_after_the_last_question_alone() -> None:
    def steps(question: str) -> tuple[Message, ...]:
        return (
            Message(Role.USER, question),
            Message(Role.ASSISTANT, "<think>\nadd\n</think>\n\n", tool_calls=(CALL,)),
            Message(Role.TOOL, "4"),
            Message(Role.ASSISTANT, "<think>\nso\n</think>\n\nIt is 4."),
        )

    call = '<tool_call>\n{"name": "add", "arguments": {"a": 2}}\n</tool_call><|im_end|>'
    assert said("qwen3", steps("2+2?") + steps("3+3?"), tools=TOOLS) == [
        call,
        "It is 4.<|im_end|>",
        "<think>\nadd\n</think>\n\n" + call,
        "<think>\nso\n</think>\n\nIt is 4.<|im_end|>",
    ]


def test_a_prompt_that_opens_reasoning_is_not_learned() -> None:
    words = talk("sum x", "<think>\nhm\n</think>return 1", "max x", "<thinking>", "len x", "<think>\nno end")
    assert said("deepseek", words) == [
        f"return 1{DEEPSEEK_END}",
        f"<thinking>{DEEPSEEK_END}",
        # The prompt has this beginning already.
        f"no end{DEEPSEEK_END}",
    ]


@pytest.mark.parametrize("form", ["mistral", "qwen3", "granite"])
def test_calls_of_tools_are_learned_and_their_answers_are_not(form: str) -> None:
    call = {
        "mistral": '{"name": "add", "arguments": {"a": 2}}',
        "qwen3": '<tool_call>\n{"name": "add", "arguments": {"a": 2}}\n</tool_call>',
        "granite": '<|tool_call|>[{"name": "add", "arguments": {"a": 2}}]',
    }[form]
    want = {
        "mistral": [
            f"[TOOL_CALLS] {call}{EOS}", f" It is 4.{EOS}", f"[TOOL_CALLS] {call}, {call}{EOS}", f" It is 4, add.{EOS}",
        ],
        "qwen3": [
            f"{call}<|im_end|>", "It is 4.<|im_end|>", f"Let me see.\n{call}\n{call}<|im_end|>",
            "<think>\n\n</think>\n\nIt is 4, add.<|im_end|>",
        ],
        "granite": [
            f"{call}<|end_of_text|>", "It is 4.<|end_of_text|>", f"Let me see.{call}{call}<|end_of_text|>",
            "It is 4, add.<|end_of_text|>",
        ],
    }[form]  # fmt: skip
    assert said(form, CALLING, tools=TOOLS) == want
    left_out = (
        CALLING[0],
        replace(CALLING[1], trained=False),
        *CALLING[2:5],
        replace(CALLING[5], trained=False),
    )
    assert said(form, (*left_out, *CALLING[6:]), tools=TOOLS) == [want[1], want[3]]
    alone = "<think>\n\n</think>\n\n" if form == "qwen3" else ""
    assert said(form, CALLING[:2], tools=TOOLS) == [alone + want[0]]


def test_a_call_that_the_template_does_not_show_is_refused() -> None:
    error = refused(CALLING[:4], CHATML)
    assert error.reason is FailureReason.DATASET_INVALID
    assert str(error) == (
        "rows:7: turn 1 of the assistant cannot be told in what the chat template of the tokenizer makes: "
        "the template does not show its call of add"
    )


def test_a_call_may_be_closed_otherwise_and_named_again_where_the_tool_answers() -> None:
    template = CHATML.replace(
        "<|im_end|>\n{% endfor %}",
        "{% for c in m.tool_calls %} to={{ c.function.name }}{% endfor %}"
        "{% if m.role == 'tool' %} of {{ messages[loop.index0 - 1].tool_calls[0].function.name }}{% endif %}"
        "{{ '</s>' if m.tool_calls else '<|im_end|>' }}\n{% endfor %}",
    )
    assert said("chatml", CALLING[:4], template=template) == [f" to=add{EOS}", "It is 4.<|im_end|>"]


def test_a_template_may_want_arguments_as_text() -> None:
    template = CHATML.replace(
        "<|im_end|>",
        "{% for c in m.tool_calls %}{{ c.function.name + c.function.arguments }}{% endfor %}<|im_end|>",
        1,
    )
    made = copy.copy(tokenizer("chatml"))
    made.chat_template = template
    encoded = Renderer(made).conversation(Conversation(CALLING[:4]), "rows:7")
    assert learned(made, encoded) == ['add{"a": 2}<|im_end|>', "It is 4.<|im_end|>"]


@pytest.mark.parametrize("left_out", [(), (0,), (1,)])
def test_marks_are_taken_at_their_word(left_out: tuple[int, ...]) -> None:
    messages = talk("sum x", "return 1", "sum x", "", "sum x", "sum x", left_out=left_out)
    want = ["return 1<|im_end|>", "<|im_end|>", "sum x<|im_end|>"]
    kept = [words for number, words in enumerate(want) if number not in left_out]
    assert said("chatml", messages, template=MARKED) == kept
    whole = MARKED.replace("<|im_end|>{% endgeneration %}", "<|im_end|>\n{% endgeneration %}")
    assert said("chatml", messages, template=whole) == [f"{words}\n" for words in kept]
    answers = MARKED.replace("<|im_end|>{% endgeneration %}", "{% endgeneration %}<|im_end|>")
    assert said("chatml", messages, template=answers) == [
        words.removesuffix("<|im_end|>") for words in kept if words != "<|im_end|>"
    ]


def test_one_mark_around_two_turns_cannot_be_left_out_by_half() -> None:
    merged = (
        "{% for m in messages %}{% if m.role == 'assistant' and m.tool_calls %}<|im_start|>assistant\n{% generation %}"
        "{{ m.tool_calls[0].function.name }}|{{ messages[loop.index0 + 2].content if loop.length > 2 }}<|im_end|>"
        "{% endgeneration %}\n"
        "{% elif m.role == 'assistant' and messages[loop.index0 - 1].role != 'tool' %}<|im_start|>assistant\n"
        "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}\n"
        "{% elif m.role == 'user' %}<|im_start|>user\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    assert said("chatml", CALLING[:4], template=merged) == ["add|It is 4.<|im_end|>"]
    half = (CALLING[0], replace(CALLING[1], trained=False), *CALLING[2:4])
    error = refused(half, merged)
    assert "rows:7: turn" in str(error)
    assert error.reason is FailureReason.DATASET_INVALID


def test_marks_that_mark_nothing_are_none() -> None:
    template = "{# {% generation %} is not used #}" + CHATML
    assert said("chatml", talk("sum x", "return 1"), template=template) == ["return 1<|im_end|>"]


@pytest.mark.parametrize(
    ("closing", "want", "ends"),
    [
        # gpt-oss: a conversation ends otherwise than an answer within it.
        ("{{ '<|im_end|>' if loop.last else '</s>' }}", ["a</s>", "b<|im_end|>"], ["<|im_end|>"]),
        # Some templates close an answer only where somebody goes on; GLM-4 by the next one's token.
        ("{{ '' if loop.last else '</s>\n' }}", ["a</s>", "b"], ["</s>"]),
        ("", ["a<|im_start|>", "b"], ["<|im_start|>"]),
        ("{{ '\n' if loop.last else '\n<s>' }}", ["a\n", "b\n"], []),
        # Words may begin alike.
        ("{{ '\n[END]' if loop.last else '\n[ENOUGH]' }}", ["a\n", "b\n[END]"], []),
    ],
)
def test_an_answer_may_be_closed_otherwise_at_the_end(closing: str, want: list[str], ends: list[str]) -> None:
    template = (
        "{% for m in messages %}{% if m.role == 'user' %}<|im_start|>{{ m.content }}\n"
        "{% else %}A:{{ m.content }}" + closing + "{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}A:{% endif %}"
    )
    made = tokenizer("chatml")
    assert said("chatml", talk("sum x", "a", "max x", "b"), template=template) == want
    assert turn_ends(made, template) == tuple(made.convert_tokens_to_ids(token) for token in ends)


def test_closings_are_compared_in_whole_special_tokens() -> None:
    special = re.compile("<end of turn>|<end of text>|<user>")
    found = closing_of("<end of text>\n", "<end of turn>\n<user>", special, "")
    assert found == Closing(last="<end of text>", rest="\n", between="<end of turn>")
    found = closing_of("</s>\n<end of text>", "</s>\n<user>", special, "")
    assert found == Closing(last="</s>\n", rest="<end of text>", between="</s>\n")


@pytest.mark.parametrize(
    ("template", "what"),
    [
        ("{{ raise_exception('never') }}", "refuses a question and its answer: never"),
        ("{% for m in messages %}{{ m.text }}{% endfor %}", "does not show what the assistant says"),
        (
            "{% for m in messages %}{% if m.role == 'assistant' %}{{ messages[loop.index0 - 1].content + m.content }}"
            "{% endif %}{% endfor %}",
            "shows what the user says inside the assistant's turns",
        ),
        (
            MARKED.replace("m.role == 'assistant'", "m.role == 'user'"),
            "shows what the user says inside the assistant's turns",
        ),
        (
            CHATML.replace("prompt %}<|im_start|>assistant", "prompt %}<|im_start|>bot"),
            "it does not begin as the template's prompt for an answer ends",
        ),
        (
            CHATML.replace("prompt %}<|im_start|>assistant", "prompt %}</s>"),
            "it does not begin as the template's prompt for an answer ends",
        ),
        (
            "{% for m in messages[::-1] %}{{ m.content }}{% endfor %}",
            "what the assistant says cannot be told in what the chat template of the tokenizer makes",
        ),
    ],
)
def test_a_template_that_fits_no_conversation_is_refused(template: str, what: str) -> None:
    error = refused(talk("sum x", "return 1"), template)
    assert error.reason is FailureReason.MODEL_INVALID
    assert what in str(error)


def test_words_that_look_different_when_more_follows_are_learned_as_they_are() -> None:
    template = CHATML.replace(
        "{{ m.content }}", "{{ m.content if loop.revindex < 3 else m.content | replace('e', '') }}"
    )
    words = talk("the sum", "return e", "max x", "return 2")
    assert said("chatml", words, template=template) == ["rturn <|im_end|>", "return 2<|im_end|>"]


@pytest.mark.parametrize(
    ("template", "turn", "what"),
    [
        (CHATML.replace("messages", "messages[-2:]", 1), 1, "shows a message of the user nowhere"),
        (
            CHATML.replace("{{ m.content }}", "{{ m.content if loop.revindex < 3 else m.content | upper }}"),
            1,
            "shows a message of the user nowhere",
        ),
        (
            CHATML.replace(
                "{{ m.content }}", "{{ m.content if loop.revindex < 3 else m.content | replace('e', '') }}"
            ).replace("{{ m.role }}", "{{ m.role }}{{ loop.previtem.content | length if loop.index == 3 }}"),
            1,
            "its words change what follows it",
        ),
        ("{{ strftime_now('%f') }}" + CHATML, 1, "the message before it changes"),
    ],
)
def test_a_turn_that_cannot_be_told_is_refused(template: str, turn: int, what: str) -> None:
    template = "{% if messages[0].content == 'qzfirst' %}" + CHATML + "{% else %}" + template + "{% endif %}"
    error = refused(talk("the sum", "return e", "max x", "return 2"), template)
    assert error.reason is FailureReason.DATASET_INVALID
    assert (
        f"rows:7: turn {turn} of the assistant cannot be told in what the chat template of the tokenizer"
        in str(error)
    )
    assert what in str(error)
    assert "{% generation %}" in error.hint


def test_a_date_that_changes_meanwhile_is_looked_at_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    made = tokenizer("chatml")
    found = ChatTemplate(made, CHATML)
    asked, plain = [0], ChatTemplate._rendered

    def at_midnight(self: ChatTemplate, *given: Any, **more: Any) -> Any:
        asked[0] += 1
        text, spans = plain(self, *given, **more)
        return f"{'Monday' if asked[0] < 2 else 'Tuesday'}\n{text}", spans

    monkeypatch.setattr(ChatTemplate, "_rendered", at_midnight)
    rendered = found.conversation(Conversation(talk("sum x", "return 1", "max x", "return 2")), "rows:7")
    assert rendered.text.startswith("Tuesday")
    assert [rendered.text[slice(*span)] for span in rendered.learned] == [
        "return 1<|im_end|>",
        "return 2<|im_end|>",
    ]


def test_a_tokenizer_may_have_a_template_for_tools() -> None:
    made = copy.copy(tokenizer("qwen3"))
    made.chat_template = {
        "default": CHATML,
        "tool_use": "{% for t in tools %}{% endfor %}" + made.chat_template,
    }
    for tools, want in ((), "b<|im_end|>"), (TOOLS, "<think>\n\n</think>\n\nb<|im_end|>"):
        encoded = Renderer(made).conversation(Conversation(talk("a", "b"), tools), "rows:7")
        assert learned(made, encoded) == [want]
    made.chat_template = {"tool_use": CHATML}
    with pytest.raises(StageError, match=r"no chat template to take: .*no default") as error:
        Renderer(made).conversation(Conversation(talk("a", "b")), "rows:7")
    assert error.value.reason is FailureReason.MODEL_INVALID
    assert turn_ends(tokenizer("plain")) == ()
    made.chat_template = None
    assert turn_ends(made) == ()
    with pytest.raises(StageError, match="the tokenizer has no chat template, and the rows are messages"):
        Renderer(made).conversation(Conversation(talk("a", "b")), "rows:7")
