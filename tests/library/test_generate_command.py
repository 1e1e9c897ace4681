"""`python -m speechless.generate`: what a person gets for one prompt, from a folder and from a GGUF file."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest

from speechless.generate import Sampling, open_generator
from speechless.generate.__main__ import main
from tests.library.needs import needs_llama_server

pytest_plugins = ("tests.library.model_fixtures",)
pytestmark = pytest.mark.timeout(300)
TWELVE = ["--max_new_tokens", "12"]


def said(model: Path, *, raw: bool) -> str:
    """What the library says."""
    with open_generator(model) as generator:
        if raw:
            return generator.complete(["sum of x"], Sampling(12))[0].text
        return generator.chat([[{"role": "user", "content": "sum of x"}]], Sampling(12))[0].text


@pytest.mark.parametrize("raw", [False, True])
def test_a_prompt_is_answered_or_gone_on_from(
    model: Path, capsys: pytest.CaptureFixture[str], raw: bool
) -> None:
    more = ["--raw"] if raw else []
    assert main(["--model", str(model), "--prompt", "sum of x", *TWELVE, *more]) == 0
    assert capsys.readouterr().out == said(model, raw=raw) + "\n"


def test_a_gguf_file_answers_the_same(
    model: Path, f16: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_llama_server()
    monkeypatch.setenv("TEST_MODEL_PATH", str(f16))
    monkeypatch.setattr("sys.stdin", io.StringIO("sum of x\n"))
    assert main([*TWELVE, "-o", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["text"] == said(model, raw=False)
    assert (told["model"], told["backend"]) == (str(f16), "llama-server")
    assert told["completion_tokens"] <= 12
    assert told["finish_reason"] in ("stop", "length")


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["--prompt", " "], 2, "the prompt is empty"),
        (["--prompt", "a", "--system", "b", "--raw"], 2, "leave one of them out"),
        (["--prompt", "a", "--stop", ""], 2, "--stop: an empty text"),
        (["--prompt", "a", "--model", "nosuch/model/here"], 1, "nosuch/model/here: no such model"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(
    model: Path, words: list[str], status: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        found = main(["--model", str(model), *words])
    except SystemExit as end:
        found = int(end.code or 0)
    assert found == status
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1


def test_what_a_template_refuses_is_told_in_its_words(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "own"
    shutil.copytree(model, folder)
    (folder / "chat_template.jinja").write_text("{{ raise_exception('no system text, please') }}")
    assert main(["--model", str(folder), "--prompt", "a", "--system", "b"]) == 1
    assert capsys.readouterr().err == (
        "speechless generate: own: the chat template refuses the conversation: no system text, please "
        "(order the messages as the template wants them)\n"
    )
