"""What a model sees of a row and what it learns: the learned tokens, decoded."""

import json
from pathlib import Path
from typing import Any

import pytest

from speechless.contract import FailureReason, Objective
from speechless.data import Conversation, Message, Role, Text, read_rows, render, survey
from speechless.data.__main__ import main as check
from speechless.data.render import Renderer
from speechless.errors import StageError
from speechless.finetune.tokens import Encoder, Encoding
from tests.library import chat_fixtures

pytest_plugins = ("tests.library.model_fixtures",)
TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'assistant' %}A:{% generation %}{{ message.content }}{{ eos_token }}{% endgeneration %}"
    "{% elif message.role == 'forbidden' %}{{ raise_exception('no') }}"
    "{% else %}{{ message.role[0] | upper }}:{{ message.content }}{% endif %}\n{% endfor %}"
)

ASKED: list[dict[str, Any]] = [
    {"role": "user", "content": "sum x"},
    {"role": "assistant", "content": "return 1"},
    {"role": "user", "content": "max x"},
    {"role": "assistant", "content": "return 2"},
]


@pytest.fixture(scope="module")
def tokenizer(model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model)


def learned(encoded: render.Tokens, tokenizer: Any) -> str:
    ids, labels = encoded
    assert all(label in (token, render.IGNORED) for token, label in zip(ids, labels, strict=True))
    return str(tokenizer.decode([label for label in labels if label != render.IGNORED]))


def turn(role: Role, content: str, *, trained: bool = True) -> Message:
    return Message(role, content, trained=trained)


def test_the_assistants_turns_are_learned_but_for_those_left_out(tokenizer: Any) -> None:
    talk = Conversation(
        (
            turn(Role.USER, "sum x"),
            turn(Role.ASSISTANT, "return 1", trained=False),
            turn(Role.USER, "max x"),
            turn(Role.ASSISTANT, "return 2"),
        )
    )
    end = tokenizer.eos_token
    assert learned(Renderer(tokenizer, TEMPLATE).conversation(talk, "a:1"), tokenizer) == f"return 2{end}"
    every = Conversation(tuple(turn(message.role, message.content) for message in talk.messages))
    assert (
        learned(Renderer(tokenizer, TEMPLATE).conversation(every, "a:1"), tokenizer)
        == f"return 1{end}return 2{end}"
    )


def test_a_turn_that_the_template_hides_cannot_be_left_out(tokenizer: Any) -> None:
    hiding = TEMPLATE.replace("message in messages", "message in messages[-2:]")
    talk = Conversation(
        (
            turn(Role.USER, "sum x"),
            turn(Role.ASSISTANT, "return 1", trained=False),
            turn(Role.USER, "max x"),
            turn(Role.ASSISTANT, "return 2"),
        )
    )
    with pytest.raises(StageError, match=r"rows.jsonl:7: turn 1 of the assistant cannot be told") as refused:
        Renderer(tokenizer, hiding).conversation(talk, "rows.jsonl:7")
    assert refused.value.reason is FailureReason.DATASET_INVALID


def test_a_template_that_refuses_a_conversation_is_told_with_the_rows_place(tokenizer: Any) -> None:
    refusing = TEMPLATE + "{% if messages[0].content == 'a' %}{{ raise_exception('not this') }}{% endif %}"
    talk = Conversation((turn(Role.USER, "a"), turn(Role.ASSISTANT, "b")))
    with pytest.raises(StageError, match=r"rows.jsonl:7: the chat template of tiny refuses .*not this"):
        Renderer(tokenizer, refusing).conversation(talk, "rows.jsonl:7")


def test_of_a_text_its_prompt_is_only_read(tokenizer: Any) -> None:
    end = tokenizer.eos_token
    assert learned(render.text(Text(" return 1", "sum x"), tokenizer), tokenizer) == f" return 1{end}"
    assert learned(render.text(Text("return 1"), tokenizer), tokenizer) == f"return 1{end}"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"messages": ASKED, "system": "for x"}, ["return 1</s>", "return 2</s>"]),
        ({"messages": ASKED, "system_prompt": "for x"}, ["return 1</s>", "return 2</s>"]),
        ({"messages": [ASKED[0], ASKED[1] | {"weight": 0}, *ASKED[2:]]}, ["return 2</s>"]),
        ({"messages": [*ASKED[:3], ASKED[3] | {"train": False}]}, ["return 1</s>"]),
        ({"messages": [*ASKED[:3], ASKED[3] | {"weight": 1}]}, ["return 1</s>", "return 2</s>"]),
    ],
)
def test_what_a_row_says_about_its_turns_reaches_the_labels(
    row: dict[str, Any], said: list[str], tokenizer: Any, tmp_path: Path
) -> None:
    """The tokenizer's own template, which marks nothing."""
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    (placed,) = read_rows(survey(tmp_path / "rows.jsonl", seed=0), heldout=False)
    encoded = render.encoder_for(tokenizer)(placed)
    assert chat_fixtures.learned(tokenizer, encoded) == said
    assert tokenizer.decode(encoded[0]).startswith("<|system|>for x</s>") == bool(row.keys() - {"messages"})


def test_rows_without_an_answer_are_refused_by_the_objective(tokenizer: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    rows = list(read_rows(survey(tmp_path / "rows.jsonl", seed=0), heldout=False))
    with pytest.raises(StageError, match=r"rows.jsonl:1: a row of the kind Preference") as refused:
        Encoder(Encoding(tmp_path, Objective.SFT, 64), tokenizer).chunk(rows)
    assert refused.value.hint == "the objective SFT takes conversations and texts"


def test_data_check_counts_in_the_models_tokens_and_shows_what_is_learned(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "sum x", "completion": " return 1"}\n' * 2)
    argv = ["check", str(tmp_path / "rows.jsonl"), "--model", str(model)]
    assert check(argv) == 0
    told = capsys.readouterr().out
    assert "sum x[[ return 1</s>]]" in told
    assert check([*argv, "-o", "json", "--model_max_length", "8"]) == 0
    tokens_told = json.loads(capsys.readouterr().out)["tokens"]
    assert tokens_told["lengths"]["total"] == 2 * tokens_told["lengths"]["median"]
    assert tokens_told["untrained"] == 0
    assert 0 < tokens_told["masked"] < 1
