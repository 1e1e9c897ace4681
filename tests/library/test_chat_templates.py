"""What is learned of a conversation under twelve forms of chat template: the learned tokens, decoded."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from speechless.contract import FailureReason
from speechless.data import Conversation, Message, Role
from speechless.data.render import Renderer, turn_ends
from speechless.errors import StageError
from tests.library.chat_fixtures import BAR, DEEPSEEK_END, EOS, TOKENS, applied, learned, talk, tokenizer


def qwen3(said: str, last: bool) -> str:
    """Without reasoning in it: the last answer shows that there is none."""
    return ("<think>\n\n</think>\n\n" + said.lstrip("\n") if last else said) + "<|im_end|>"


SAID: dict[str, Callable[[str, bool], str]] = {
    "chatml": lambda said, _: said + "<|im_end|>",
    "llama2": lambda said, _: f" {said.strip()} {EOS}",
    "llama3": lambda said, _: said.strip() + "<|eot_id|>",
    "mistral": lambda said, _: f" {said.strip()}{EOS}",
    "zephyr": lambda said, _: said + EOS,
    "gemma": lambda said, _: said.strip() + "<end_of_turn>",
    "phi": lambda said, _: said + "<|end|>",
    "deepseek": lambda said, _: said + DEEPSEEK_END,
    "qwen3": qwen3,
    "granite": lambda said, _: said + "<|end_of_text|>",
    "alpaca": lambda said, _: said + EOS,
    "plain": lambda said, _: f" {said}\n",
}
"""What the model has to say for an answer; True: the last one."""
MARKS = {
    "chatml": "a<|im_end|>\n<|im_start|>user\nb<|im_end|>\n<|im_start|>assistant\nc",
    "llama2": f"a {EOS}<s>[INST] b [/INST] c",
    "llama3": "a<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nb",
    "mistral": f"a{EOS}[INST] b[/INST] c",
    "zephyr": f"a{EOS}\n<|user|>\nb{EOS}\n<|assistant|>\nc",
    "gemma": "a<end_of_turn>\n<start_of_turn>model\nb",
    "phi": f"a<|end|>\n<|user|>\nb<|end|>\n{EOS}c",
    "deepseek": f"a{DEEPSEEK_END}<{BAR}User{BAR}>b<{BAR}Assistant{BAR}>c",
    "qwen3": "a<|im_end|>\n<|im_start|>user\nb",
    "granite": "a<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>b",
    "alpaca": f"a{EOS}\n\n### Instruction:\nb\n\n### Response:\nc",
    "plain": "a\nUser: b\nAssistant: c",
}
"""Words with the form's own marks in them, as a conversation about the form would have."""
CASES: dict[str, tuple[Message, ...]] = {
    "one answer": talk("sum x", "return 1"),
    "three answers": talk("sum x", "return 1", "max x", "return 2", "len x", "return 3"),
    "a system message": talk("sum x", "return 1", "max x", "return 2", system="for numbers"),
    "the first left out": talk("sum x", "return 1", "max x", "return 2", left_out=(0,)),
    "the last left out": talk("sum x", "return 1", "max x", "return 2", left_out=(1,)),
    "the middle left out": talk("sum x", "a", "max x", "b", "len x", "c", left_out=(1,)),
    "blanks": talk("  sum x\n", "  return 1\n\n", "\n max x  ", "\n  return 2  "),
    "the user's words again": talk("sum x", "sum x", "sum x", "sum x"),
    "an empty answer": talk("sum x", "", "max x", "return 2", "len x", ""),
    "code with signs": talk("x = [1, 2]", "```python\nx: int = 'ä — 🙂'\n```", "{{ x }}", "{% x %}"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("form", TOKENS)
def test_the_assistants_words_and_their_end_are_learned(form: str, case: str) -> None:
    made, messages = tokenizer(form), CASES[case]
    if form == "gemma" and messages[0].role is Role.SYSTEM:
        with pytest.raises(
            StageError, match=r"rows:1: the chat template .*no system message is known"
        ) as refused:
            Renderer(made).conversation(Conversation(messages), "rows:1")
        assert refused.value.reason is FailureReason.DATASET_INVALID
        return
    encoded = Renderer(made).conversation(Conversation(messages), "rows:1")
    assert encoded[0] == applied(made, messages)
    assert learned(made, encoded) == expected(form, messages)


def expected(form: str, messages: tuple[Message, ...]) -> list[str]:
    return [
        SAID[form](message.content, message is messages[-1])
        for message in messages
        if message.role is Role.ASSISTANT and message.trained
    ]


@pytest.mark.parametrize("form", TOKENS)
@pytest.mark.parametrize("left_out", [(), (0,), (1,)])
def test_the_forms_own_marks_may_be_part_of_what_is_said(form: str, left_out: tuple[int, ...]) -> None:
    made, words = tokenizer(form), MARKS[form]
    messages = talk(words, words, f"{words} {words}", words, "max x", "return 2", left_out=left_out)
    encoded = Renderer(made).conversation(Conversation(messages), "rows:1")
    assert encoded[0] == applied(made, messages)
    assert learned(made, encoded) == expected(form, messages)


@pytest.mark.parametrize("form", TOKENS)
def test_the_end_of_a_turn_is_told_by_the_template(form: str) -> None:
    made = tokenizer(form)
    last = TOKENS[form][-1] if form == "phi" else SAID[form]("", False).strip()
    want = () if form == "plain" else (made.convert_tokens_to_ids(last),)
    assert turn_ends(made) == want


@pytest.mark.parametrize("form", ["llama2", "mistral", "zephyr", "gemma", "alpaca", "plain"])
def test_a_tokenizer_with_sentencepieces_blanks_learns_the_same(form: str) -> None:
    made, messages = tokenizer(form, words=True), CASES["three answers"]
    encoded = Renderer(made).conversation(Conversation(messages), "rows:1")
    assert encoded[0] == applied(made, messages)
    found = [words.strip() for words in learned(made, encoded)]
    assert found == [words.strip() for words in expected(form, messages)]
