"""`make`, Python programs, `pip`, and paths of this repository: what can be wrong with how a page calls them."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from cli_reference import COMMANDS
from tests.docs.shell import Command
from tests.unit.layout.repository import ROOT, files

PYTHONS = re.compile(r"(?:\S*/)?python3?(?:\.\d+)?|\$\{?(?:PYTHON|PY)\}?")
PARSERS = {
    **{tuple(name.removeprefix("python -m ").split()): module for name, module in COMMANDS.items()},
    ("cluster",): "cluster.__main__",
    ("benchmarks.operator",): "benchmarks.operator.__main__",
    ("benchmarks.store",): "benchmarks.store.__main__",
    ("benchmarks.train",): "benchmarks.train.__main__",
    ("hack/push.py",): "push",
}
"""The first words of a command, without `python -m`, to the module that has its parser: `build_parser` or `parser`."""
SAME = {
    ("speechless.eval", "humaneval"): ("speechless.eval.humaneval",),
    ("speechless.api", "start"): ("speechless.api.server", "start"),
    ("speechless.finetune.moe",): ("speechless.finetune.finetune",),
    ("speechless-operator",): ("speechless-operator",),
    ("speechless_operator",): ("speechless-operator",),
}
"""Two names of one program."""
BY_HELP = (
    "speechless",
    "speechless.eval",
    "speechless.api",
    "speechless.api.server",
    "speechless_operator.crd",
    "speechless_operator.desired",
    "demo",
    "tests.cases",
    "tests.skew.generate",
)
"""Programs without a parser that can be had, beside hack/*.py: their flags are looked for in what `--help` prints."""
OTHERS = ("venv", "pip", "pytest", "http.server", "json.tool")
"""Modules of others."""


def python_problem(command: Command, partial: bool = False) -> str:
    """What is wrong with a Python program of ours: a flag or a word that it does not know.

    partial: the page names the command and not all that it needs.
    """
    words = spelt(command.words)
    if not words or words[0] in OTHERS or words[0].startswith("-"):
        return ""
    for length in (2, 1):
        if module := PARSERS.get(words[:length]):
            return refusal(parser_of(module), words[length:], partial)
    if re.search(r"[.]?[A-Z]+$", words[0]):
        return ""  # `speechless COMMAND`
    if words[0] not in BY_HELP and not (ROOT / words[0]).match("hack/*.py"):
        return f"{words[0]} is in no table of tests/docs/checks/programs.py: PARSERS, BY_HELP or OTHERS"
    unknown = [flag for flag in sorted(flags_of(words) - {"--help"}) if flag not in help_of(words[0])]
    return f"{words[0]} has no flag {unknown[0]}" if unknown else ""


def spelt(words: tuple[str, ...]) -> tuple[str, ...]:
    """A command as module or file and arguments: without `python -m`, `speechless X` as `speechless.X`."""
    if PYTHONS.fullmatch(words[0]):
        words = words[2:] if words[1:2] == ("-m",) else words[1:]
    if words[:1] == ("speechless",) and len(words) > 1 and not words[1].startswith("-"):
        words = (f"speechless.{words[1]}", *words[2:])
    for length in (2, 1):
        if words[:length] in SAME:
            return (*SAME[words[:length]], *words[length:])
    return words


@cache
def parser_of(module: str) -> argparse.ArgumentParser:
    """The parser of a module's program."""
    found = importlib.import_module(module)
    make = getattr(found, "build_parser", None) or found.parser
    parser: argparse.ArgumentParser = make()
    return parser


def refusal(parser: argparse.ArgumentParser, words: tuple[str, ...], partial: bool = False) -> str:
    """What a parser says against a command line; "" where it takes it, or would with what is left out."""
    said = io.StringIO()
    parse = getattr(parser, "parse", parser.parse_args)
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            parse([word for word in words if word != "..."])
        except SystemExit as end:
            message = said.getvalue().strip()
            left_out = "the following arguments are required" in message and (partial or "..." in words)
            if unknown := flags_of(words) - set(known_flags(parser)):
                return f"{parser.prog} has no flag {min(unknown)}"
            placeholder = re.search(r"invalid \w+( value)?: '<[\w|]+>'", message)
            return "" if not end.code or left_out or placeholder else message
    return ""


def flags_of(words: tuple[str, ...]) -> set[str]:
    """The long flags of a command line."""
    return {word.partition("=")[0] for word in words if word.startswith("--") and word != "--"}


def known_flags(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The flags of a parser and of its sub-commands."""
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from known_flags(each)


@cache
def help_of(program: str) -> str:
    """What a program prints for --help."""
    target = [program] if "/" in program else ["-m", program]
    done = subprocess.run(
        [sys.executable, *target, "--help"],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT / 'hack'}", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stdout


def make_problem(command: Command) -> str:
    """What is wrong with `make TARGET VARIABLE=...`: a target or a variable that the Makefile does not have."""
    for word in command.words[1:]:
        name, equals, _ = word.partition("=")
        if equals and name not in make_variables():
            return f"the Makefile knows no variable {name}"
        if not equals and not word.startswith(("-", "<")) and (found := make_refusal(word)):
            return found
    return ""


@cache
def make_variables() -> frozenset[str]:
    """Every name that the Makefile reads or sets."""
    return frozenset(re.findall(r"\b[A-Z][A-Z_0-9]+\b", (ROOT / "Makefile").read_text()))


@cache
def make_refusal(target: str) -> str:
    """What `make -n` says against a target; "" where it would run something."""
    done = subprocess.run(
        ["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False, timeout=30
    )
    # The rule for an unknown target ends with status 2, which -n does not run but shows.
    if done.returncode or "there is no target" in done.stdout:
        return f"the Makefile has no target {target!r}"
    return ""


def pip_problem(command: Command) -> str:
    """What is wrong with `pip install '.[extra]'`: an extra that is not declared."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for word in command.words:
        match = re.fullmatch(r"(?:\.|speechless-llm|\S*\.whl)\[([\w,-]+)\](?:==\S+)?", word)
        unknown = [name for name in match[1].split(",") if name not in extras] if match else []
        if unknown:
            return f"pyproject.toml has no extra {unknown[0]!r}, only {', '.join(extras)}"
    return ""


def path_problem(command: Command) -> str:
    """A word that names a place in this repository where nothing is."""
    for word in (*command.words[:1], *(part for each in command.words[1:] for part in each.split("="))):
        path = word.removeprefix("./").partition("::")[0]
        if not _is_path(path) or _exists(path):
            continue
        return f"there is no {path} in this repository"
    return ""


def _is_path(path: str) -> bool:
    top = path.partition("/")[0]
    return "/" in path and top in _tops() and not re.search(r"[<>$:,*{} ]|\.\.\.", path)


@cache
def _tops() -> frozenset[str]:
    return frozenset(path.parts[0] for path in files() if len(path.parts) > 1)


def _exists(path: str) -> bool:
    wanted = Path(path)
    return any(file == wanted or wanted in file.parents for file in files())
