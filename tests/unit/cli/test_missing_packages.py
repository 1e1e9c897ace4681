"""On a bare install, with pydantic alone, every command says in one line what is missing and how to get it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from speechless.entry import COMMANDS, EXTRAS, guarded, missing
from speechless.quickstart.__main__ import main as quickstart
from tests.support.model_files import write_safetensors
from tests.unit.layout.repository import ROOT

BLOCKER = """
import sys
ALLOWED = {"pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection", "shtab",
           "speechless", "speechless_operator"}
class Bare:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if path is None and top not in ALLOWED and top not in sys.stdlib_module_names and not top.startswith("_"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Bare())
"""
HEAVY = [
    ("speechless.tiny", "make", "--out", "t", "--steps", "1", "--rows", "1", "--problems", "1"),
    ("speechless", "tiny", "make", "--out", "t", "--steps", "1", "--rows", "1", "--problems", "1"),
    ("speechless.finetune.finetune", "--model_name_or_path", "m", "--dataset", "rows.jsonl", "--output_dir", "o"),
    ("speechless.finetune.merge_peft_adapters", "--base_model_name_or_path", "m", "--lora_model_path", "a",
     "--merged_model_name_or_path", "x"),
    ("speechless.eval.humaneval", "--model", "m", "--data", "problems.jsonl"),
    ("speechless", "api", "start", "--model", "m"),
    ("speechless.api.server", "start", "--model", "m"),
    ("speechless.quickstart", "--out", "q"),
    ("speechless.data", "check", "rows.jsonl", "--model", "m"),
    ("speechless.data", "check", "rows.parquet"),
]  # fmt: skip


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder to work in, with inputs that are good enough to get as far as a package."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BLOCKER)
    for folder in ("m", "a"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_text("{}")
    # Its files are looked at before what loads it is.
    write_safetensors(tmp_path / "m" / "model.safetensors")
    (tmp_path / "a" / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 100)
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    (tmp_path / "problems.jsonl").write_text(
        '{"task_id": "t/1", "prompt": "def f():\\n", "entry_point": "f", "test": "def check(c):\\n    pass"}\n'
    )
    return tmp_path


def run(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    path = os.pathsep.join([str(folder / "site"), str(ROOT), str(ROOT / "operator")])
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


@pytest.mark.parametrize("words", HEAVY, ids=lambda words: " ".join(words[:2]))
def test_one_line_names_the_extra(bare: Path, words: tuple[str, ...]) -> None:
    done = run(bare, *words)
    last = done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert done.returncode == 1, done.stderr
    assert "is not installed: pip install 'speechless-llm[" in last


@pytest.mark.parametrize("command", ["finetune", "tiny", "eval", "quant", "api", "quickstart"])
def test_help_needs_nothing(bare: Path, command: str) -> None:
    done = run(bare, "speechless", command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage:" in done.stdout


def test_the_operator_says_it_too(bare: Path) -> None:
    done = run(bare, "speechless_operator", "run")
    assert "Traceback" not in done.stderr
    assert "speechless-llm[operator]" in done.stderr
    assert done.returncode == 1


def test_every_extra_that_is_named_is_there() -> None:
    import tomllib

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {*EXTRAS, *COMMANDS.values()} <= set(declared)
    assert missing("other", "xllamacpp.memory").endswith("[serve]' brings it")


def test_an_interrupted_command_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    assert guarded("eval", interrupted) == 130
    assert capsys.readouterr().err == "speechless eval: interrupted\n"


def test_a_client_that_is_needed_last_is_missed_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ModuleNotFoundError) as missed:
        quickstart(["--out", str(tmp_path / "q")])
    assert missed.value.name == "openai"
    assert not (tmp_path / "q").exists()
