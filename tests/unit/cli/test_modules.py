"""`python -m` on a module of the library: it is a command, or one line says what to use; never silence and status 0."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import speechless
from speechless.entry import INSTEAD, refuse_library_module
from tests.unit.layout.repository import ROOT

PACKAGE = Path(speechless.__file__).parent
COMMANDS = {
    "speechless.api",
    "speechless.api.server",
    "speechless.data",
    "speechless.eval",
    "speechless.eval.humaneval",
    "speechless.finetune",
    "speechless.finetune.finetune",
    "speechless.finetune.lightllm",
    "speechless.finetune.merge_moe",
    "speechless.finetune.merge_peft_adapters",
    "speechless.finetune.moe",
    "speechless.generate",
    "speechless.quant",
    "speechless.quickstart",
    "speechless.stage",
    "speechless.store",
    "speechless.tiny",
}
"""What a person runs."""
STARTED = {
    "speechless.__main__",
    "speechless.eval.sandbox.supervisor",
    "speechless.finetune.rows_main",
    "speechless.finetune.worker",
    "speechless.generate.llamacpp.wheel",
    "speechless.quant.converter_main",
}
"""What the library starts itself."""


def modules() -> list[str]:
    """Every module and package of the library by its name, `__main__` under the name of its package."""
    found = [path.relative_to(PACKAGE.parent).with_suffix("") for path in PACKAGE.rglob("*.py")]
    names = {".".join(path.parts).removesuffix(".__init__").removesuffix(".__main__") for path in found}
    return sorted(names - {"speechless"})


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("name", sorted(set(modules()) - COMMANDS - STARTED))
def test_a_module_that_is_no_command_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        refuse_library_module(name)
    assert end.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith(f"python -m {name}: a part of the library, not a command; ")
    assert told.count("\n") == 1


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_has_help(name: str) -> None:
    done = run("-m", name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("speechless.generate.hf", "a part of the library, not a command; use 'speechless generate'"),
        ("speechless.generate.openai", "'speechless eval humaneval --base_url URL'"),
        ("speechless.quant.llamacpp", "use 'speechless quant'"),
        ("speechless.eval.perplexity", "'speechless quant llamacpp --verify_text FILE' measures perplexity"),
        ("speechless.finetune.merge", "use 'speechless finetune merge'"),
        ("speechless.finetune.finetune_dialog", "this version; use 'python -m speechless.finetune.finetune'"),
        ("speechless.finetune.pretrain", "not a part of this version; use 'speechless finetune pretrain', or"),
        ("speechless.finetune.mlx.sft", "not a part of this version; training with MLX is not offered yet"),
        ("speechless.eval.lmeval", "not a part of this version; use 'speechless eval'"),
        ("speechless.llamacpp.convert_hf_to_gguf", "not a part of this version; 'speechless quant llamacpp' converts"),
        ("speechless.infer", "not a part of this version; 'speechless generate' puts a prompt"),
        ("speechless.agents", "not a part of this version; 'speechless --help' lists the commands"),
    ],
)  # fmt: skip
def test_python_itself_says_it(name: str, what: str) -> None:
    done = run("-X", "dev", "-W", "error", "-m", name, "--model", "m")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"python -m {name}: ")
    assert what in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_command_keeps_its_words_and_an_import_is_not_looked_at() -> None:
    done = run("-m", "speechless.finetune", "list", "-m", "speechless.generate.hf")
    assert "unknown flag -m" in done.stderr
    done = run("-c", "import speechless.generate.openai; print('imported')", "-m", "speechless.generate.hf")
    assert (done.returncode, done.stdout) == (0, "imported\n")


def test_what_is_said_of_a_module_is_still_true() -> None:
    assert set(INSTEAD) & COMMANDS == set()
