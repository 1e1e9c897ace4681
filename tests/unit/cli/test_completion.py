"""Shell completion: the script is valid, and bash completes with it what the parsers know."""

import subprocess
import sys
from pathlib import Path

import pytest

from speechless import cli
from speechless.arguments import SHELLS
from speechless_operator.main import main as operator

PACKAGE = Path(cli.__file__).parent
ASK = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
"$(complete -p "$1" | sed -E 's/.* -F ([^ ]+) .*/\\1/')"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The commands' own scripts for bash, as a user gets them."""
    folder = tmp_path_factory.mktemp("completion")
    made = {}
    for name, module in (("speechless", "speechless"), ("speechless-operator", "speechless_operator")):
        made[name] = folder / name
        words = [sys.executable, "-m", module, "--print-completion", "bash"]
        made[name].write_text(
            subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout
        )
    return made


def completions(script: Path, *words: str, cwd: Path | None = None) -> list[str]:
    """What bash offers for the last word."""
    ask = ["bash", "--norc", "--noprofile", "-c", ASK, "ask", str(script), *words]
    done = subprocess.run(ask, check=True, capture_output=True, text=True, timeout=60, cwd=cwd)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["fin"], ["finetune"]),
        (["finetune", ""], ["init", "run", "merge", "pretrain", "backup", "list", "moe"]),
        (["finetune", "init", "--task"], ["--task_name"]),
        (["eval", ""], ["humaneval"]),
        (["eval", "humaneval", "--prompt_type", "cha"], ["chat_template", "chatlm"]),
        (["quant", "llamacpp", "--llamacpp_quant_type", ""], ["f16", "q4_k_m", "q8_0"]),
        (["api", "start", "--backb"], ["--backbone"]),
        (["tiny", "make", "--out", "fol"], ["folder"]),
        (["tiny", "make", "--preset", "q"], ["quick"]),
        (["finetune", "list", "-o", ""], ["text", "json"]),
        (["--print-completion", ""], list(SHELLS)),
    ],
)
def test_bash_completes(
    scripts: dict[str, Path], words: list[str], offered: list[str], tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folio.txt").write_text("no folder")
    assert completions(scripts["speechless"], "speechless", *words, cwd=tmp_path) == offered


def test_every_command_is_offered(scripts: dict[str, Path]) -> None:
    assert completions(scripts["speechless"], "speechless", "") == list(cli.find_commands(PACKAGE))


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["r"], ["run"]),
        (["run", "--progress-via", ""], ["pod", "apiserver"]),
        (["run", "--lease-name"], None),
    ],
)
def test_bash_completes_the_operator(
    scripts: dict[str, Path], words: list[str], offered: list[str] | None
) -> None:
    found = completions(scripts["speechless-operator"], "speechless-operator", *words)
    assert found == (offered or ["--lease-name", "--lease-namespace"])


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_gets_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--print-completion", shell]) == 0
    assert "humaneval" in capsys.readouterr().out
    assert operator(["--print-completion", shell]) == 0
    assert "progress-via" in capsys.readouterr().out


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["--print-completion", "bsh"])
    assert end.value.code == 2
    assert "invalid choice: 'bsh'; did you mean bash? (one of bash, zsh, tcsh)" in capsys.readouterr().err


def test_the_script_is_made_without_anything_heavy() -> None:
    code = (
        "import sys, speechless.cli as c; c.main(['--print-completion', 'bash']);"
        "print(sorted({'torch', 'transformers', 'rich', 'kopf'} & {*sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]"
