"""What commands make of addresses before they need torch: out of a real bucket, by the cache."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from speechless.finetune.merge_peft_adapters import main as merge
from speechless.quickstart.__main__ import _chain, build_parser
from speechless.quickstart.__main__ import main as quickstart
from tests.support.commands import status_of

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPEECHLESS_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def filled(bucket: Path) -> str:
    """A bucket with what a quickstart takes; its address."""
    for name in ("model/config.json", "rows/a.jsonl", "problems.jsonl", "text.txt"):
        (bucket / name).parent.mkdir(exist_ok=True)
        (bucket / name).write_text(name)
    return f"s3://{bucket.name}"


def test_the_quickstart_takes_addresses(filled: str, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "more.jsonl").touch()
    words = ["--model", f"{filled}/model", "--dataset", f"{filled}/rows,{tmp_path}/more.jsonl"]
    words += ["--problems", f"{filled}/problems.jsonl", "--text", f"{filled}/text.txt"]
    parser = build_parser()
    chain = _chain(parser, parser.parse(words))
    (train,) = [step for step in chain.steps() if step.name == "fine-tune"]
    model, rows = Path(train.env["BASE_MODEL_PATH"]), train.env["DATASET"].split(",")
    assert (model / "config.json").read_text() == "model/config.json"
    assert (Path(rows[0]) / "a.jsonl").read_text() == "rows/a.jsonl"
    assert rows[1:] == [f"{tmp_path}/more.jsonl"]
    assert chain.problems
    assert chain.text
    assert (chain.problems.name, chain.text.name) == ("problems.jsonl", "text.txt")
    assert all(path.is_relative_to(cache) for path in (model, Path(rows[0]), chain.problems, chain.text))


@pytest.mark.parametrize("missing", ["--model", "--dataset", "--problems", "--text"])
def test_what_the_quickstart_does_not_find_is_one_line(
    filled: str, missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"--model": "model", "--dataset": "rows", "--problems": "problems.jsonl", "--text": "text.txt"}
    words = [part for name, path in (given | {missing: "no"}).items() for part in (name, f"{filled}/{path}")]
    assert quickstart(words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"speechless quickstart: {filled}/no: nothing is there (check the URI")


def test_an_adapter_is_looked_for_where_it_is_said_to_be(
    filled: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--base_model_name_or_path", f"{filled}/model", "--lora_model_path", f"{filled}/rows"]
    assert status_of(merge, words) == 2
    assert f"--lora_model_path {filled}/rows: no adapter_config.json there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("eval.humaneval", "--do_gen", "--data", "{}/rows/a.jsonl", "--model", "{}/no"), "eval humaneval"),
        (("eval.humaneval", "--data", "{}/no", "--model", "{}/model"), "eval humaneval"),
        (("quant", "llamacpp", "--model_path", "{}/no"), "quant"),
        (("quant", "llamacpp", "--model_path", "{}/model", "--verify_text", "{}/no"), "quant"),
        (("api.server", "start", "--model", "{}/no"), "api start"),
        (("finetune.finetune", "--model_name_or_path", "{}/model", "--dataset", "{}/no"), "finetune"),
        (("finetune.merge_peft_adapters", "--base_model_name_or_path", "m", "--lora_model_path", "{}/no"), "finetune"),
        (("data", "convert", "{}/no", "--out", "out.jsonl"), "data"),
    ],
    ids=lambda words: words if isinstance(words, str) else " ".join(words[:3]),
)  # fmt: skip
def test_every_command_says_what_is_not_there(
    filled: str, tmp_path: Path, words: tuple[str, ...], name: str
) -> None:
    argv = [sys.executable, "-m", *(word.format(filled) for word in (f"speechless.{words[0]}", *words[1:]))]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith(f"speechless {name}: ")]
    assert f"{filled}/no: nothing is there (check the URI" in line
