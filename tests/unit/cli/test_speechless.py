"""`speechless`: commands are found by their folders, mistakes are one line that names the nearest known word."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import speechless
from speechless import cli

PACKAGE = Path(speechless.__file__).parent


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package `speechless` with one command, `measure`, which prints its arguments and exits with their number."""
    command = tmp_path / "speechless" / "measure"
    command.mkdir(parents=True)
    (command / "__init__.py").write_text('"""Measure a thing.\n\nMore about it."""\n')
    (command / "__main__.py").write_text("def main(argv):\n    print(*argv, sep='|')\n    return len(argv)\n")
    (tmp_path / "speechless" / "parts").mkdir()
    (tmp_path / "speechless" / "parts" / "__init__.py").write_text('"""No command."""\n')
    monkeypatch.setattr(cli, "__file__", str(tmp_path / "speechless" / "cli.py"))
    monkeypatch.setattr(speechless, "__path__", [*speechless.__path__, str(tmp_path / "speechless")])
    yield tmp_path / "speechless"
    for name in [name for name in sys.modules if name.startswith("speechless.measure")]:
        del sys.modules[name]


def test_a_folder_with_a_main_is_a_command(package: Path) -> None:
    assert cli.find_commands(package) == {"measure": "Measure a thing."}


def test_help_lists_what_is_there(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    shown = capsys.readouterr().out
    assert "  measure  Measure a thing." in shown
    assert "parts" not in shown


def test_a_command_gets_its_arguments_and_its_status_is_ours(
    package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["measure", "--help", "x", "--version"]) == 3
    assert capsys.readouterr().out == "--help|x|--version\n"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["mesure"], "unknown command mesure; did you mean measure?"),
        (["zzz"], "unknown command zzz (see"),
        (["--verson"], "unknown flag --verson; did you mean --version?"),
        (["--verson=1", "measure"], "unknown flag --verson; did you mean --version?"),
        (["--vers"], "unknown flag --vers"),
    ],
)
def test_a_mistake_is_one_line(
    package: Path, capsys: pytest.CaptureFixture[str], argv: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(argv)
    assert exit_.value.code == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1


def test_every_command_here_has_a_line_in_help() -> None:
    assert [name for name, line in cli.find_commands(PACKAGE).items() if not line] == []


def test_help_without_commands_says_so() -> None:
    assert "No command is part of this version yet" in cli.build_parser({}).format_help()


def test_importing_and_help_load_nothing_heavy() -> None:
    code = "import sys, speechless.cli as c; c.main([]); print(sorted({'torch', 'kopf', 'pydantic'} & {*sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=30
    )
    assert done.stdout.splitlines()[-1] == "[]"
