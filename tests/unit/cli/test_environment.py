"""What the environment says of places: MODELS_ROOT_DIR, SPEECHLESS_DATA_DIR, TEST_MODEL_PATH."""

import json
from pathlib import Path

import pytest

from speechless.api.server import main as api
from speechless.data.places import places
from speechless.environment import DATA, MODELS, Root
from speechless.eval.humaneval.__main__ import main as humaneval
from speechless.eval.humaneval.commands import find_data
from speechless.finetune.flags import parse
from speechless.quant.__main__ import main as quant
from speechless.store.models import locate_model
from tests.support.commands import status_of
from tests.support.gguf import write_gguf
from tests.support.model_files import write_model


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder, and beside it a folder of models and one of data."""
    for name in ("here", "models/org", "data/humaneval"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("MODELS_ROOT_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("SPEECHLESS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("TEST_MODEL_PATH", raising=False)
    return tmp_path / "here"


def test_a_path_that_is_here_wins(here: Path) -> None:
    below = MODELS.folder() / "org" / "m"
    assert MODELS.find(Path("org/m")) == Path("org/m"), "it is nowhere: the error names what was given"
    below.mkdir()
    assert MODELS.find(Path("org/m")) == below
    (here / "org" / "m").mkdir(parents=True)
    assert MODELS.find(Path("org/m")) == Path("org/m")
    assert MODELS.find(here / "none") == here / "none"


def test_the_defaults_are_the_documented_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELS_ROOT_DIR", "")
    monkeypatch.delenv("SPEECHLESS_DATA_DIR")
    assert MODELS.folder() == Path("/opt/local/llm_models/huggingface.co")
    assert DATA.folder() == Path("/opt/local/datasets/speechless_data")
    assert Root("NOT_SET", "x").folder() == Path("x")


def test_the_trainer_looks_there() -> None:
    (MODELS.folder() / "org" / "m").mkdir()
    (DATA.folder() / "rows.jsonl").write_text("")
    flags = parse(["--model_name_or_path", "org/m", "--dataset", "rows.jsonl"])
    assert (locate_model(flags.model).path, places(flags.dataset)) == (
        MODELS.folder() / "org" / "m",
        (DATA.folder() / "rows.jsonl",),
    )


def test_quantization_looks_there(capsys: pytest.CaptureFixture[str]) -> None:
    model = write_gguf(MODELS.folder() / "org" / "m.gguf", [("token_embd.weight", (256, 400), "F16")])
    assert (
        quant(["llamacpp", "--model_path", "org/m.gguf", "--llamacpp_quant_type", "f16", "-o", "json"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["f16"] == str(model)


def test_humanevals_problems_are_looked_for_there() -> None:
    problems = DATA.folder() / "humaneval" / "HumanEval.jsonl.gz"
    problems.write_text("")
    assert find_data() == problems


@pytest.mark.parametrize("main", [humaneval, api], ids=["humaneval", "api"])
def test_the_model_of_the_environment(
    main: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--do_gen", "--data", "rows.jsonl"] if main is humaneval else ["start"]
    (DATA.folder() / "rows.jsonl").write_text(
        '{"task_id": "t", "prompt": "p", "entry_point": "f", "test": "t"}\n'
    )
    assert status_of(main, words) == 2
    assert "--model is missing, and TEST_MODEL_PATH is not set" in capsys.readouterr().err
    (MODELS.folder() / "org" / "m").mkdir()
    monkeypatch.setenv("TEST_MODEL_PATH", "org/m")
    assert status_of(main, words) == 1
    assert f"{MODELS.folder()}/org/m: neither config.json nor a .gguf file" in capsys.readouterr().err
    assert status_of(main, [*words, "--model", "other"]) == 1
    assert "other: no such model" in capsys.readouterr().err
    judge = {"architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
    write_model(MODELS.folder() / "org" / "judge", **judge)
    assert status_of(main, [*words, "--model", "org/judge"]) == 1
    told = capsys.readouterr().err
    assert "judge: it is no model that writes (reward model, LlamaForSequenceClassification), " in told
    assert "take the language model that it was made from" in told


def test_the_endpoint_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--do_gen", "--data", "rows.jsonl"]
    (DATA.folder() / "rows.jsonl").write_text(
        '{"task_id": "t", "prompt": "p", "entry_point": "f", "test": "t"}\n'
    )
    monkeypatch.setattr("speechless.generate.openai.ATTEMPTS", 1)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert status_of(humaneval, words) == 2, "an endpoint without a model's name is none"
    capsys.readouterr()
    monkeypatch.setenv("OPENAI_MODEL_NAME", "coder")
    assert status_of(humaneval, words) == 1
    assert "http://127.0.0.1:9/v1" in capsys.readouterr().err
    monkeypatch.setenv("TEST_MODEL_PATH", "org/m")
    assert status_of(humaneval, words) == 2
    assert "OPENAI_BASE_URL and TEST_MODEL_PATH both name a model" in capsys.readouterr().err
    assert status_of(humaneval, [*words, "--model", "other"]) == 1
    assert "other: no such model" in capsys.readouterr().err
    assert status_of(humaneval, [*words, "--base_url", "http://127.0.0.1:9/other"]) == 1
    assert "http://127.0.0.1:9/other" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("main", "words", "said"),
    [
        (humaneval, ["--max_len", "0"], "--max_len: must be 1 or more, not 0"),
        (humaneval, ["--temperature", "-1"], "--temperature: must be 0 or more, not -1"),
        (humaneval, ["--n_workers", "-1"], "--n_workers: must be 1 or more, not -1"),
        (humaneval, ["--timeout", "nan"], "--timeout: must be above 0, not nan"),
        (humaneval, ["--seed", "x"], "--seed: invalid whole number value: 'x'"),
        (api, ["--temperature", "5"], "--temperature: must be from 0 to 2, not 5"),
        (api, ["--top_p", "0"], "--top_p: must be above 0 and at most 1, not 0"),
        (api, ["--max_new_tokens", "0"], "--max_new_tokens: must be 1 or more, not 0"),
        (api, ["--port", "70000"], "--port: must be from 1 to 65535, not 70000"),
    ],
)
def test_a_number_out_of_range_is_one_line(
    main: object, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(main, ["--model", "m", *words]) == 2
    assert said in capsys.readouterr().err
