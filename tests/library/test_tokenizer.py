"""A model folder's tokenizer, with a chat template and an end of text of the user's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from speechless.contract import FailureReason
from speechless.data import Conversation
from speechless.data.render import Renderer, turn_ends
from speechless.data.tokenizer import load_tokenizer
from speechless.errors import StageError
from tests.library.chat_fixtures import FOLDER, learned, talk, tokenizer

CHATML = (FOLDER / "chatml.jinja").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model's: its template ends turns with another token than `eos_token`."""
    made = tmp_path_factory.mktemp("base") / "tiny"
    tokenizer("chatml").save_pretrained(made)
    (made / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return made


def refused(folder: Path, **given: Any) -> StageError:
    with pytest.raises(StageError) as error:
        load_tokenizer(folder, **given)
    return error.value


def test_the_folders_own_template_and_end_of_text_hold(folder: Path) -> None:
    made = load_tokenizer(folder)
    assert made.chat_template == CHATML.removesuffix("\n")
    assert (made.eos_token, made.padding_side) == ("</s>", "right")
    assert turn_ends(made) == (made.convert_tokens_to_ids("<|im_end|>"),)


def test_others_take_their_place(folder: Path) -> None:
    zephyr = (FOLDER / "zephyr.jinja").read_text()
    made = load_tokenizer(folder, zephyr, "<|im_end|>")
    assert made.eos_token_id == made.convert_tokens_to_ids("<|im_end|>")
    encoded = Renderer(made).conversation(Conversation(talk("sum x", "return 1")), "rows:1")
    assert learned(made, encoded) == ["return 1<|im_end|>"]
    assert turn_ends(made) == (made.eos_token_id,)
    assert turn_ends(made, CHATML.replace("<|im_end|>", "</s>")) == (made.convert_tokens_to_ids("</s>"),)


@pytest.mark.parametrize(
    ("token", "what", "hint"),
    [
        (
            "<|im_ned|>",
            "eos_token: '<|im_ned|>' is no token of tiny: its tokenizer makes",
            "there is '<|im_end|>'",
        ),
        ("the end", "eos_token: 'the end' is no token of tiny", "special tokens are <s>, </s>"),
        ("", "eos_token: '' is no token of tiny", "special tokens are"),
        ("zzqx", "eos_token: 'zzqx' is no token of tiny", "special tokens are"),
    ],
)
def test_an_end_of_text_is_one_token_of_the_vocabulary(
    folder: Path, token: str, what: str, hint: str
) -> None:
    error = refused(folder, eos_token=token)
    assert error.reason is FailureReason.INVALID_SPEC
    assert what in str(error)
    assert hint in error.hint


@pytest.mark.parametrize(
    ("template", "what", "hint"),
    [
        ("{% for m in messages %}", "chat_template: line 1: Unexpected end of template", "Jinja"),
        ("a\n{{ m | shout }}", "chat_template: line 2: No filter named 'shout'", "Jinja"),
        (CHATML.replace("in messages", "in mesages"), "nothing is called 'mesages'", "is it 'messages'?"),
        (CHATML.replace("'<|im_end|>'", "eos_tokn"), "nothing is called 'eos_tokn'", "is it 'eos_token'?"),
        (
            "{{ conversation[0].content | trim }}",
            "nothing is called 'conversation'",
            "there are add_generation",
        ),
        ("{% for m in qz.words %}{{ m }}{% endfor %}", "nothing is called 'qz'", "messages, tools"),
    ],
)
def test_a_template_is_jinja_and_uses_what_there_is(
    folder: Path, template: str, what: str, hint: str
) -> None:
    error = refused(folder, chat_template=template)
    assert error.reason is FailureReason.INVALID_SPEC
    assert what in str(error)
    assert hint in error.hint


@pytest.mark.parametrize(
    "more",
    [
        "{% if enable_thinking is defined and enable_thinking %}{{ enable_thinking }}{% endif %}",
        "{% if custom %}{{ custom }}{% endif %}",
        "{{ date if date else '' }}",
        "{{ effort | default('low') }}",
        "{% if effort == 'high' %}!{% endif %}",
        "{% set ns = namespace(n=0) %}{{ ns.n }}{{ range(2) | list }}{{ strftime_now('%Y') }}{{ bos_token }}",
        "{% macro say(x) %}{{ x }}{% endmacro %}{{ say(tools) }}{{ documents }}",
        "{# {% generation %}{% endgeneration %} #}{% if false %}{{ raise_exception('no') }}{% endif %}",
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% break %}{% endfor %}",
    ],
)
def test_names_that_may_be_there_are_taken(folder: Path, more: str) -> None:
    assert load_tokenizer(folder, more + CHATML).chat_template == more + CHATML


def test_trls_templates_are_taken(folder: Path) -> None:
    import trl

    for path in Path(trl.__path__[0], "chat_templates").glob("*.jinja"):
        load_tokenizer(folder, path.read_text())


def test_a_tokenizer_without_an_end_of_text_may_be_given_one(folder: Path, tmp_path: Path) -> None:
    base = tmp_path / "bare"
    shutil.copytree(folder, base)
    config = json.loads((base / "tokenizer_config.json").read_text())
    (base / "tokenizer_config.json").write_text(json.dumps({**config, "eos_token": None}))
    error = refused(base)
    assert error.reason is FailureReason.MODEL_INVALID
    assert str(error) == "bare: the tokenizer has no eos_token: the model could not learn to stop"
    assert load_tokenizer(base, eos_token="<|im_end|>").eos_token == "<|im_end|>"


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    assert "no config.json" in str(refused(tmp_path))
    (tmp_path / "config.json").write_text("{")
    assert refused(tmp_path).reason is FailureReason.MODEL_INVALID
