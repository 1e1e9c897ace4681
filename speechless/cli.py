"""The command `speechless`: finds the command that was asked for, imports that one alone and hands it its arguments.

A command is a folder of this package that holds a `__main__.py` with `main(argv: list[str]) -> int`; the folder's
name is the command's name and the first line of the folder's docstring its line in `speechless --help`. So there is
no list to keep: a command is offered from the day its code is here, and `python -m speechless.NAME` is the same
program. Looking for commands imports nothing, which keeps `--help` fast however heavy a command is.
"""

import ast
import importlib
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from speechless import __version__
from speechless.arguments import DefaultsRawHelp, Parser, did_you_mean
from speechless.entry import guarded

DESCRIPTION = "Fine-tune, evaluate, quantize and serve large language models."

NO_COMMANDS = """\
No command is part of this version yet: the library's stages (fine-tune, evaluate, quantize, serve) are being
built, and each appears here when it works. The state of things is in README.md."""

HOW_TO = "'speechless COMMAND --help' tells what a command does and takes."


def find_commands(package: Path) -> dict[str, str]:
    """Return the commands in the folder of a package: name -> the first line of its docstring, sorted by name."""
    folders = sorted(main.parent for main in package.glob("*/__main__.py"))
    return {folder.name: first_docstring_line(folder / "__init__.py") for folder in folders}


def first_docstring_line(source: Path) -> str:
    """Return the first line of a Python file's docstring without importing the file; "" where it has none."""
    if not source.is_file():
        return ""
    docstring = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def build_parser(commands: dict[str, str]) -> Parser:
    """Return the parser of what stands before the command's name; its help lists the commands."""
    width = max(map(len, commands), default=0)
    lines = [f"  {name:<{width}}  {summary}".rstrip() for name, summary in commands.items()]
    epilog = "\n".join(["commands:", *lines, "", HOW_TO]) if commands else NO_COMMANDS
    parser = Parser(
        prog="speechless",
        usage="speechless [--help] [--version] [--print-completion SHELL]"
        + (" COMMAND ..." if commands else ""),
        description=DESCRIPTION,
        epilog=epilog,
        formatter_class=DefaultsRawHelp,
    )
    parser.add_argument("-V", "--version", action="store_true", help="print the version and exit")
    parser.add_output()
    parser.add_completion()
    return parser


def split(argv: Sequence[str], with_value: Iterable[str] = ()) -> tuple[list[str], str | None, list[str]]:
    """Split a command line into what stands before the command, its name (None: not given) and its own arguments.

    `with_value`: flags whose value is the next word.
    """
    before = ""
    for position, word in enumerate(argv):
        if not word.startswith("-") and before not in with_value:
            return list(argv[:position]), word, list(argv[position + 1 :])
        before = word
    return list(argv), None, []


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: the command's own, 2 for a usage error, 0 for help."""
    commands = find_commands(Path(__file__).parent)
    parser = build_parser(commands)
    own, name, rest = split(sys.argv[1:] if argv is None else argv, _with_value(parser))
    given = parser.parse(own)
    if given.version:
        return _print_version(given.output)
    if given.print_completion:
        return guarded("completion", lambda: _print_completion(commands, given.print_completion))
    if given.output != "text":
        parser.error(f"-o stands behind the command: speechless {name or 'COMMAND'} ... -o {given.output}")
    if name is None:
        parser.print_help()
        return 0
    if name not in commands:
        parser.error(f"unknown command {name}{did_you_mean(name, commands)}")
    return guarded(name, lambda: _run(name, rest))


def completion_parser(commands: dict[str, str]) -> Parser:
    """The parser with every command's own below it; this imports the commands, but nothing heavy."""
    parser = build_parser(commands)
    below = parser.add_subparsers()
    for name, summary in commands.items():
        command: Parser = importlib.import_module(f"speechless.{name}.__main__").build_parser()
        below.add_parser(name, help=summary, parents=[command], add_help=False)
    return parser


def _with_value(parser: Parser) -> list[str]:
    return [flag for action in parser._actions if action.nargs != 0 for flag in action.option_strings]


def _print_version(output: str) -> int:
    if output == "json":
        import json

        print(json.dumps({"speechless": __version__, "python": sys.version.split()[0]}, indent=2))
    else:
        print(f"speechless {__version__}")
    return 0


def _print_completion(commands: dict[str, str], shell: str) -> int:
    print(completion_parser(commands).completion(shell))
    return 0


def _run(name: str, rest: list[str]) -> int:
    status: int = importlib.import_module(f"speechless.{name}.__main__").main(rest)
    return status
