"""A model trained with another chat template and end of text keeps them, and is used by them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from speechless.contract import METHODS, FailureReason, Format, Method, Objective, Tokenizer
from speechless.data.tokenizer import load_tokenizer
from speechless.errors import StageError
from speechless.finetune.finetune import main
from speechless.finetune.merge import merge
from speechless.finetune.tokenizer import prepare
from speechless.models import read_info
from tests.library.training import ROWS, SETTINGS, encoded, job, run, write

pytest_plugins = ("tests.library.model_fixtures",)
pytestmark = pytest.mark.timeout(300)
TEMPLATE = (
    "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
END = "<|system|>"
WANTED = Tokenizer(chat_template=TEMPLATE, eos_token=END)
TALK = [{"role": "user", "content": "sum of x"}, {"role": "assistant", "content": "return x"}]


def answer(folder: Path) -> str:
    """What a model says by its own files: its template asks, and its generation_config.json stops it."""
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    asked = tokenizer.apply_chat_template(
        TALK[:1], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    said = model.generate(**asked, max_new_tokens=20, do_sample=False)[0, asked["input_ids"].shape[1] :]
    return str(tokenizer.decode(said))


@pytest.mark.parametrize("method", list(Method))
def test_a_model_keeps_what_it_was_trained_with(model: Path, tmp_path: Path, method: Method) -> None:
    words = prepare(model, WANTED, tmp_path / "words")
    assert words is not None
    rows = encoded(words, write([{"messages": TALK}] * 4, tmp_path / "talk" / "rows.jsonl"), Objective.SFT)
    settings = SETTINGS.model_copy(update={"max_steps": 25})
    more = {"rows": rows, "tokenizer": words, "hyperparameters": settings}
    run(job(model, tmp_path, Objective.SFT, method, **more))
    result = tmp_path / "out"
    if METHODS[method].adapters:
        result = tmp_path / "merged"
        merge(model, tmp_path / "out", result)
    made, was = load_tokenizer(result), load_tokenizer(model)
    assert (made.chat_template, made.eos_token) == (TEMPLATE, END)
    assert json.loads((result / "tokenizer_config.json").read_text())["eos_token"] == END
    stops = json.loads((result / "generation_config.json").read_text())["eos_token_id"]
    assert stops == [was.eos_token_id, made.eos_token_id]
    info = read_info(result, Format.HUGGING_FACE)
    assert info is not None
    assert info.eos_token_ids == tuple(stops)
    assert answer(result) == f"return x{END}"


def test_nothing_is_written_where_nothing_is_wanted(model: Path, tmp_path: Path) -> None:
    assert prepare(model, Tokenizer(), tmp_path / "words") is None
    assert not (tmp_path / "words").exists()


def test_only_what_is_wanted_differs_from_the_models_own(model: Path, tmp_path: Path) -> None:
    made = prepare(model, WANTED, tmp_path / "one")
    again = prepare(model, WANTED, tmp_path / "two")
    assert made is not None
    assert again is not None
    same = {path.name: path.read_bytes() for path in made.iterdir()}
    assert same == {path.name: path.read_bytes() for path in again.iterdir()}
    assert same["tokenizer.json"] == (model / "tokenizer.json").read_bytes()
    before, after = (json.loads((folder / "tokenizer_config.json").read_text()) for folder in (model, made))
    assert {name for name in {*before, *after} if before.get(name) != after.get(name)} == {"eos_token"}


@pytest.mark.parametrize(
    ("wanted", "what"),
    [
        (Tokenizer(chat_template="{% for m in messages %}"), "chat_template: line 1: Unexpected end of template"),
        (Tokenizer(chat_template="no words"), "chat_template: .* does not show what the assistant says"),
        (Tokenizer(chat_template="{{ ''.__class__.__mro__ }}"), "chat_template: .* refuses .* is unsafe"),
        (Tokenizer(chat_template="{{ messages.clear() }}"), "chat_template: .* refuses .* 'clear' .* unsafe"),
        (Tokenizer(eos_token="<|no|>"), "eos_token: '<|no|>' is no token of tiny"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_before_the_model_is_read(
    model: Path, tmp_path: Path, wanted: Tokenizer, what: str
) -> None:
    with pytest.raises(StageError, match=what) as refused:
        prepare(model, wanted, tmp_path / "words")
    assert refused.value.reason is FailureReason.INVALID_SPEC


def test_a_command_line_names_a_file_of_jinja(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write([{"messages": TALK}] * 4, Path("rows.jsonl"))
    Path("mine.jinja").write_text(TEMPLATE + "\n")
    words = [
        "--model_name_or_path",
        str(model),
        "--dataset",
        "rows.jsonl",
        "--output_dir",
        "out",
        "--eos_token",
        END,
    ]
    assert main([*words, "--chat_template", "mine.jinja", "--eval_dataset_size", "0", "--dry_run"]) == 0
    assert f"[assistant][[return x{END}]]" in capsys.readouterr().out
    assert main([*words, "--chat_template", "{{ messages", "--eval_dataset_size", "0"]) == 2
    assert "chat_template: line 1" in capsys.readouterr().err
    assert not Path("out/run.json").exists()
    steps = ["--max_steps", "1", "--eval_dataset_size", "0", "--chat_template", "mine.jinja"]
    assert main([*words, *steps]) == 0
    result = Path("out/latest/adapter_model")
    assert load_tokenizer_of(result) == (TEMPLATE, END)
    assert '"eos_token": "<|system|>"' in Path("out/run.json").read_text()
    assert main([*words[:-2], *steps]) == 2
    assert "other settings or other data (tokenizer.eos_token)" in capsys.readouterr().err


def load_tokenizer_of(adapter: Path) -> tuple[str, str]:
    """The template and the end of text that lie beside an adapter."""
    config = json.loads((adapter / "tokenizer_config.json").read_text())
    return (adapter / "chat_template.jinja").read_text().removesuffix("\n"), config["eos_token"]


def test_texts_end_with_the_token_that_is_wanted(model: Path, tmp_path: Path) -> None:
    words = prepare(model, Tokenizer(eos_token=END), tmp_path / "words")
    assert words is not None
    file = write(ROWS[Objective.SFT], tmp_path / "rows.jsonl")
    from datasets import Dataset

    rows = Dataset.from_file(str(encoded(words, file, Objective.SFT).train))
    assert {row["labels"][-1] for row in rows} == {load_tokenizer(words).eos_token_id}
