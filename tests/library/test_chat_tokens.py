"""Spans of a text as tokens: every conversation, seams, tokenizers without offsets, pairs; and TRL's own masks."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speechless.contract import FailureReason
from speechless.data import Conversation, Message, Preference, Role, Text
from speechless.data.masks import IGNORED, encode
from speechless.data.render import Renderer, text
from speechless.data.template import ChatTemplate
from speechless.data.turns import Span
from speechless.errors import StageError
from tests.library.chat_fixtures import EOS, TOKENS, applied, learned, talk, tokenizer

LETTERS = "ab 1.\n\t{}<|>_/[]'\"äß中🙂"
WORDS = st.lists(
    st.sampled_from(
        [*LETTERS, "user", "assistant", "<|im_end|>", EOS, "[INST]", "<think>", "</think>", "Assistant:"]
    ),
    max_size=8,
).map("".join)


@st.composite
def talks(draw: st.DrawFn) -> tuple[Message, ...]:
    """One to three questions, each with a mark of its own, and answers with theirs."""
    words: list[str] = []
    for number in range(draw(st.integers(1, 3))):
        words += [f"{draw(WORDS)}q{number}q{draw(WORDS)}", f"{draw(WORDS)}z{number}z{draw(WORDS)}"]
    left_out = draw(st.sets(st.integers(0, len(words) // 2 - 2))) if len(words) > 2 else set()
    return talk(*words, system=draw(st.sampled_from([None, "be brief"])), left_out=tuple(left_out))


@pytest.mark.parametrize("form", TOKENS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(messages=talks())
def test_all_that_is_said_is_learned_and_nothing_that_is_asked(
    form: str, messages: tuple[Message, ...]
) -> None:
    made = tokenizer(form)
    if form == "gemma" and messages[0].role is Role.SYSTEM:
        messages = messages[1:]
    encoded = Renderer(made).conversation(Conversation(messages), "rows:1")
    assert encoded[0] == applied(made, messages)
    found = "".join(learned(made, encoded))
    for message in messages:
        kept = message.role is Role.ASSISTANT and message.trained
        shown = message.content
        if form in ("deepseek", "qwen3"):
            shown = shown.split("</think>")[-1]
        # Templates take white space off the ends of words; a prompt may begin the answer's reasoning.
        assert not kept or shown.strip().removeprefix("<think>").strip() in found
        for mark in re.findall(r"[qz]\d[qz]", shown):
            assert (mark in found) == kept


def brackets(*merged: str) -> Any:
    """A tokenizer of characters, but that some pairs are one token; in the text as it stands."""
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    letters = sorted(set("AQ:() \nxyz'\"."))
    vocabulary = {token: number for number, token in enumerate([*letters, *merged, "<eos>"])}
    raw = Tokenizer(models.BPE(vocabulary, [(pair[0], pair[1]) for pair in merged]))
    raw.decoder = decoders.Fuse()
    made = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<eos>")
    made.chat_template = (
        "{% for m in messages %}{% if m.role == 'user' %}Q:{{ m.content }}\n{% else %}A: {{ m.content }}\n"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}A: {% endif %}"
    )
    return made


def test_a_token_across_a_seam_is_learned_if_the_rest_of_it_is_blank() -> None:
    messages = talk("x", "y", "z", "(x)")
    plain = learned(brackets(), Renderer(brackets()).conversation(Conversation(messages), "rows:1"))
    assert plain == ["y\n", "(x)\n"]
    made = brackets(" y", "\nQ", ":(")
    encoded = Renderer(made).conversation(Conversation(messages), "rows:1")
    assert encoded[0] == applied(made, messages)
    # The blank before "y" comes with it; the line's end is one token with the next question's mark.
    assert learned(made, encoded) == [" y", "(x)\n"]
    made.chat_template = made.chat_template.replace("A: ", "A:")
    # The answer's first sign is one token with the colon of the prompt.
    assert learned(made, Renderer(made).conversation(Conversation(messages), "rows:1")) == ["y", "x)\n"]


@pytest.mark.parametrize("trim", [True, False])
def test_offsets_that_leave_blanks_out_change_nothing(trim: bool) -> None:
    from tokenizers import processors

    made = copy.deepcopy(tokenizer("plain"))
    made.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim)
    messages = talk("sum x", "  return 1  ", " max x", "\n\n🙂")
    encoded = Renderer(made).conversation(Conversation(messages), "rows:1")
    assert encoded[0] == applied(made, messages)
    assert learned(made, encoded) == ["   return 1  \n", " \n\n🙂\n"]


def slow(form: str, *tokens: str) -> Any:
    """A tokenizer that does not tell where its tokens lie: of characters and of some words."""
    from transformers import PreTrainedTokenizer

    class Slow(PreTrainedTokenizer):  # type: ignore[misc]
        def __init__(self, **more: Any) -> None:
            self.known = [*tokens, *map(chr, range(10, 127))]
            super().__init__(eos_token=EOS, bos_token="<s>", **more)

        @property
        def vocab_size(self) -> int:
            return len(self.known)

        def get_vocab(self) -> dict[str, int]:
            return {token: number for number, token in enumerate(self.known)} | self.added_tokens_encoder

        def _tokenize(self, text: str, **_: Any) -> list[str]:
            return re.findall("|".join([*map(re.escape, tokens), r"[\s\S]"]), text)

        def _convert_token_to_id(self, token: str) -> int:
            return self.known.index(token)

        def _convert_id_to_token(self, index: int) -> str:
            return self.known[index]

        def convert_tokens_to_string(self, tokens: list[str]) -> str:
            return "".join(tokens)

    made = Slow()
    made.add_tokens(list(TOKENS[form]), special_tokens=True)
    made.chat_template = tokenizer(form).chat_template
    return made


@pytest.mark.parametrize("form", ["chatml", "llama3", "zephyr", "plain"])
def test_a_tokenizer_without_offsets_learns_the_same(form: str) -> None:
    made, messages = (
        slow(form, "sum", "return "),
        talk("sum x", "return 1", "max x", "return 2", left_out=(0,)),
    )
    assert not made.is_fast
    encoded = Renderer(made).conversation(Conversation(messages), "rows:1")
    assert encoded[0] == applied(made, messages)
    want = learned(tokenizer(form), Renderer(tokenizer(form)).conversation(Conversation(messages), "rows:1"))
    assert learned(made, encoded) == want


def test_a_tokenizer_without_offsets_and_with_a_token_across_a_seam_is_refused() -> None:
    made = slow("plain", "\nUser")
    with pytest.raises(StageError, match=r"rows:1: the tokenizer tells no places of its tokens") as refused:
        Renderer(made).conversation(Conversation(talk("sum x", "return 1", "max x", "return 2")), "rows:1")
    assert refused.value.reason is FailureReason.DATASET_INVALID
    assert "1\\nUser" in str(refused.value)


def test_nothing_and_all_of_a_text_may_be_learned() -> None:
    made = tokenizer("chatml")
    words = "return x"
    ids, labels = encode(made, words, [Span(0, len(words))], "")
    assert labels == ids
    assert set(encode(made, words, [], "")[1]) == {IGNORED}
    assert set(encode(made, words, [Span(3, 3)], "")[1]) == {IGNORED}


@pytest.mark.parametrize("form", ["chatml", "llama2", "phi", "qwen3", "alpaca"])
def test_of_a_pair_the_prompt_is_what_the_model_is_given(form: str) -> None:
    made = tokenizer(form)
    asked = talk("sum x", "return 1", "max x", system="be brief")
    pair = Preference(asked, (Message(Role.ASSISTANT, "return 2"),), "return")
    prompt, chosen, rejected = Renderer(made).preference(pair, "rows:1")
    opened = made.apply_chat_template(
        [message.to_template() for message in asked],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
    )["input_ids"]
    assert prompt == opened
    for answer, ids in (("return 2", chosen), ("return", rejected)):
        whole = (*asked, Message(Role.ASSISTANT, answer))
        assert learned(made, Renderer(made).conversation(Conversation(whole), "rows:1"))[-1] == made.decode(
            ids
        )
        assert applied(made, whole)[: len(prompt) + len(ids)] == prompt + ids
        assert Renderer(made).completion(asked, answer, "rows:1") == (prompt, ids)


def test_a_pair_of_texts_ends_with_the_end_of_text_and_needs_no_template() -> None:
    made = copy.copy(tokenizer("chatml"))
    made.chat_template = None
    prompt, chosen, rejected = Renderer(made).preference(Preference("sum x", " return 1", " 2"), "rows:1")
    assert [made.decode(ids) for ids in (prompt, chosen, rejected)] == [
        "sum x",
        f" return 1{EOS}",
        f" 2{EOS}",
    ]
    assert prompt + chosen == text(Text(" return 1", "sum x"), made)[0]
    with pytest.raises(StageError, match="rows:1: the prompt is a text, and an answer is messages"):
        Renderer(made).completion("sum x", (Message(Role.ASSISTANT, "return 1"),), "rows:1")


def test_an_answer_that_says_nothing_has_no_tokens_where_no_token_ends_it() -> None:
    made = copy.copy(tokenizer("plain"))
    made.chat_template = "{% for m in messages %}{{ m.content }}{{ '|' if m.role == 'user' }}{% endfor %}"
    asked = (Message(Role.USER, "sum x"),)
    prompt, chosen, rejected = Renderer(made).preference(Preference(asked, "return 1", ""), "rows:1")
    assert (made.decode(prompt), made.decode(chosen), rejected) == ("sum x|", "return 1", [])
    assert Renderer(made).preference(Preference(asked, "", "return 1"), "rows:1") == (prompt, [], chosen)


def test_a_pair_whose_seams_fall_into_tokens_has_one_prompt() -> None:
    made = brackets(" y")
    pair = Preference((Message(Role.USER, "x"),), "y", "z")
    prompt, chosen, rejected = Renderer(made).preference(pair, "rows:1")
    assert [made.decode(ids) for ids in (prompt, chosen, rejected)] == ["Q:x\nA:", " y\n", " z\n"]


def pairs() -> list[str]:
    """Names of the templates that TRL has with and without marks."""
    import trl

    folder = Path(trl.__path__[0], "chat_templates")
    marked = {path.name.removesuffix("_training.jinja") for path in folder.glob("*_training.jinja")}
    # Those take a message as a list of texts and images.
    return sorted(marked - {"idefics3", "llava_next", "smolvlm"})


@pytest.mark.parametrize("name", pairs())
def test_turns_are_where_trls_own_templates_mark_them(name: str) -> None:
    """Where both make the same text. TRL marks more: the line's end behind a turn, and some headers."""
    import trl

    folder = Path(trl.__path__[0], "chat_templates")
    own, marked = (folder / f"{name}.jinja").read_text(), (folder / f"{name}_training.jinja").read_text()
    made = copy.deepcopy(tokenizer("chatml"))
    made.add_tokens(
        re.findall(r"<[|\uff5c][^|\uff5c<>]+[|\uff5c]>|<\w+_of_turn>|<turn\|>|</?think>", own),
        special_tokens=True,
    )
    compared = 0
    for messages in (
        talk("sum x", "return 1"),
        talk("sum x", "return 1", "max x", "return 2", "len x", "return 3"),
        talk(" sum x", "<think>\nhm\n</think>\n\nreturn 1\n", "max x", " <think>\nso\n</think>\n\nreturn 2"),
    ):
        example = Conversation(messages)
        found = ChatTemplate(made, own).conversation(example, "rows:1")
        try:
            theirs = ChatTemplate(made, marked).conversation(example, "rows:1")
        except StageError:
            continue  # what their marks leave out or in besides is refused
        if found.text != theirs.text:
            continue
        compared += 1
        assert len(found.learned) == len(messages) // 2
        for span in found.learned:
            assert any(mark.start <= span.start < mark.end for mark in theirs.learned)
        ours = {place for span in found.learned for place in range(*span)}
        more = {place for span in theirs.learned for place in range(*span)} - ours
        assert not ours - {place for span in theirs.learned for place in range(*span)}
        rest = "".join(found.text[place] for place in sorted(more))
        assert not re.search(r"return|sum|max|len|hm|so", rest)
    assert compared or name in ("glm4moe",)
