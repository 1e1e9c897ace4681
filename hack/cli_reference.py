"""The page docs/reference/cli.md, made from the parsers: `python hack/cli_reference.py`.

A command is a row of COMMANDS. What a parser says is what the page says: a flag without a help text is a mistake.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "reference" / "cli.md"
COMMANDS = {
    "python -m speechless.quickstart": "speechless.quickstart.__main__",
    "python -m speechless.tiny": "speechless.tiny.__main__",
    "python -m speechless.finetune": "speechless.finetune.__main__",
    "python -m speechless.finetune.finetune": "speechless.finetune.flags",
    "python -m speechless.finetune.merge_peft_adapters": "speechless.finetune.merge_peft_adapters",
    "python -m speechless.eval.humaneval": "speechless.eval.humaneval.__main__",
    "python -m speechless.quant": "speechless.quant.__main__",
    "python -m speechless.api.server start": "speechless.api.server",
    "python -m speechless.stage": "speechless.stage.__main__",
    "speechless-operator": "speechless_operator.flags",
}
HEAD = """<!-- Made from the parsers by `python hack/cli_reference.py`. Do not edit. -->

# Command line

`speechless COMMAND ...` is the same as `python -m speechless.COMMAND ...`; `--help` of each has what is here. Exit
status: 0 done, 1 failed (one line on standard error says why), 2 wrong usage. Flags are never abbreviated.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for command, module in COMMANDS.items():
        parser: argparse.ArgumentParser = importlib.import_module(module).build_parser()
        parts += [f"## {command}\n", *_section(parser)]
        for name, sub in _subcommands(parser):
            parts += [f"### {command} {name}\n", *_section(sub)]
    return "\n".join(parts).rstrip() + "\n"


def _subcommands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def _section(parser: argparse.ArgumentParser) -> list[str]:
    rows = [row for action in parser._actions if (row := _row(parser, action))]
    texts = [text for text in (parser.description, parser.epilog) if text]
    parts = [part for text in texts for part in _paragraphs(text)]
    if rows:
        parts.append("\n".join(["| Flag | What |", "|---|---|", *rows]) + "\n")
    return parts


def _row(parser: argparse.ArgumentParser, action: argparse.Action) -> str | None:
    if action.help == argparse.SUPPRESS or isinstance(
        action, argparse._HelpAction | argparse._SubParsersAction
    ):
        return None
    names = ", ".join(f"`{name}`" for name in action.option_strings) or f"`{action.metavar or action.dest}`"
    if action.option_strings and action.nargs != 0:
        value = action.metavar or (
            "{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest.upper()
        )
        names += f" `{value}`"
    if not action.help:
        raise ValueError(f"{parser.prog}: {names} has no help text")
    text = parser._get_formatter()._expand_help(action)
    needed = "; required" if action.required and action.option_strings else ""
    return f"| {names} | {_words(text)}{needed} |"


def _paragraphs(text: str) -> Iterator[str]:
    """A description as Markdown: lines that are indented are an example, and stay as they are."""
    for indented, lines in itertools.groupby(text.splitlines(), key=lambda line: line.startswith("  ")):
        found = list(lines)
        if indented:
            yield "\n".join(["```text", textwrap.dedent("\n".join(found)), "```"]) + "\n"
        elif any(line.strip() for line in found):
            yield f"{_words(' '.join(found))}\n"


def _words(text: str) -> str:
    """A help text as Markdown: one line, nothing in it is markup."""
    one = " ".join(text.split())
    for mark in ("<", "*", "_", "[", "|", "{"):
        one = one.replace(mark, f"\\{mark}")
    return one


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
    print(TARGET.relative_to(ROOT))
