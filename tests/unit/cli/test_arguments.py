"""The parser of every command: nearest words, defaults in the help, one name per command."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator

import pytest

from cli_reference import COMMANDS
from speechless import cli
from speechless.arguments import Parser
from tests.unit.cli.test_completion import PACKAGE

NAMES = {
    **COMMANDS,
    **{f"speechless {name}": f"speechless.{name}.__main__" for name in cli.find_commands(PACKAGE)},
}


def parsers(parser: Parser) -> Iterator[Parser]:
    yield from parser._all_parsers()


@pytest.fixture
def parser() -> Parser:
    made = Parser(prog="test")
    made.add_argument("--colour", choices=("red", "green"), default="red", help="of the wall")
    made.add_argument("--height", type=int, default=0, help="in metres")
    made.add_argument("--door", help="its name")
    made.add_argument("--open", action="store_true", help="the door")
    below = made.add_subparsers(dest="command")
    below.add_parser("paint").add_argument("--brush")
    below.add_parser("build").add_argument("--stones")
    return made


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--color", "red"], "test: unknown flag --color; did you mean --colour?"),
        (["--colour", "gren"], "invalid choice: 'gren'; did you mean green? (one of red, green)"),
        (["--colour", "blue"], "invalid choice: 'blue' (one of red, green)"),
        (["pain"], "invalid choice: 'pain'; did you mean paint? (one of paint, build)"),
        (["paint", "--bursh", "1"], "unknown flag --bursh; did you mean --brush?"),
        (["paint", "--stones", "1"], "unknown flag --stones (see"),
        (["paint", "--brush", "1", "more"], "unknown argument more"),
    ],
)
def test_a_mistake_names_the_nearest_word(
    parser: Parser, argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        parser.parse(argv)
    assert end.value.code == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


def test_help_says_a_default_where_there_is_one(parser: Parser) -> None:
    shown = " ".join(parser.format_help().split())
    assert "of the wall (default: red)" in shown
    assert "in metres (default: 0)" in shown
    assert "its name --open the door" in shown


@pytest.mark.parametrize("command", sorted(NAMES))
def test_every_flag_has_a_help_text_and_no_noise(command: str) -> None:
    for each in parsers(importlib.import_module(NAMES[command]).build_parser()):
        for action in each._actions:
            # A group of sub-commands says nothing itself, and a flag that never had an effect is not shown.
            hidden = isinstance(action, argparse._SubParsersAction) or action.help == argparse.SUPPRESS
            assert hidden or action.help, f"{each.prog}: {action.dest}"
        shown = " ".join(each.format_help().split())
        assert "(default: None)" not in shown
        assert "(default: False)" not in shown
        assert "(default: )" not in shown
        for text in shown.split("(default")[1:]:
            assert "(default" not in text.partition(")")[0]


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_a_command_calls_itself_what_a_user_types(command: str) -> None:
    prog = importlib.import_module(COMMANDS[command]).build_parser().prog
    typed = command.removesuffix(" start").replace("python -m speechless.", "speechless ").replace(".", " ")
    assert prog in {typed, command, "speechless api start", command.removesuffix(" start")}


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_the_version_has_a_short_flag(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([flag]) == 0
    assert capsys.readouterr().out.startswith("speechless 0.")
