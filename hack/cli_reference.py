"""The page docs/reference/cli.md, made from the parsers: `python hack/cli_reference.py`.

A command is a row of COMMANDS. What a parser says is what the page says: a flag without a help text is a mistake.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Schema = dict[str, Any]
ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "reference" / "cli.md"
COMMANDS = {
    "python -m speechless.quickstart": "speechless.quickstart.__main__",
    "python -m speechless.tiny": "speechless.tiny.__main__",
    "python -m speechless.data": "speechless.data.__main__",
    "python -m speechless.store": "speechless.store.__main__",
    "python -m speechless.finetune": "speechless.finetune.__main__",
    "python -m speechless.finetune.finetune": "speechless.finetune.flags",
    "python -m speechless.finetune.lightllm": "speechless.finetune.lightllm",
    "python -m speechless.finetune.merge_moe": "speechless.finetune.merge_moe",
    "python -m speechless.finetune.merge_peft_adapters": "speechless.finetune.merge_peft_adapters",
    "python -m speechless.eval.humaneval": "speechless.eval.humaneval.__main__",
    "python -m speechless.generate": "speechless.generate.__main__",
    "python -m speechless.quant": "speechless.quant.__main__",
    "python -m speechless.api.server start": "speechless.api.server",
    "python -m speechless.stage": "speechless.stage.__main__",
    "speechless-operator": "speechless_operator.flags",
}
HEAD = """<!-- Made from the parsers by `python hack/cli_reference.py`. Do not edit. -->

# Command line

`speechless COMMAND ...` is the same as `python -m speechless.COMMAND ...`; `--help` of each has what is here. Exit
status: 0 done, 1 failed (one line on standard error says why), 2 wrong usage. Flags are never abbreviated.

With `-o json` a command prints its result as one JSON document on standard output; logs and progress go to standard
error, and the exit status is the same. A command that fails prints no document. The fields are listed below for each
command: a field may be added, and none changes its meaning. `speechless --version -o json` prints `speechless` and
`python`, the two versions.

| Variable | What |
|---|---|
| `MODELS_ROOT_DIR` | where models lie: a relative path to a model that is not here is looked for there \
(default: `/opt/local/llm_models/huggingface.co`) |
| `SPEECHLESS_DATA_DIR` | the same for data (default: `/opt/local/datasets/speechless_data`) |
| `SPEECHLESS_CACHE_DIR` | where sources out of buckets are kept (default: `~/.cache/speechless/sources`; \
`XDG_CACHE_HOME` counts) |
| `SPEECHLESS_CACHE_SIZE` | how much is kept there at most, such as `50GB` (default: half of the disk) |
| `HF_TOKEN`, `AWS_ACCESS_KEY_ID` and others | what URIs need: [storage](../howto/storage.md#credentials) |
| `TEST_MODEL_PATH` | the model that `speechless generate`, `speechless eval humaneval` and `speechless api start` \
take without `--model` |
| `SPEECHLESS_ROOT` | a checkout whose task template `speechless finetune init` takes, where it has one |
| `SPEECHLESS_LLAMA_BIN` | the folder of llama.cpp's programs, if they are not on the `PATH` |
| `SPEECHLESS_LLAMA_SRC`, `LLAMACPP_ROOT` | llama.cpp's source with its converter |
| `OPENAI_BASE_URL`, `OPENAI_MODEL_NAME` | what `speechless eval humaneval` measures without `--base_url`, `--model` |
| `OPENAI_API_KEY` | the key for `--base_url` |
| `SPEECHLESS_API_KEY` | a key that the server asks for |

[Shell completion](../howto/shell-completion.md) is made by `speechless --print-completion`.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for command, module in COMMANDS.items():
        parser: argparse.ArgumentParser = importlib.import_module(module).build_parser()
        parts += [f"## {command}\n", *_section(parser)]
        for name, sub in _subcommands(parser):
            parts += [f"### {command} {name}\n", *_section(sub)]
        parts += MORE.get(command, list)()
    return "\n".join(parts).rstrip() + "\n"


def _variables() -> list[str]:
    """What of `task.env` is read, and what becomes of it."""
    from speechless.finetune.variables import VARIABLES, Use

    def becomes(row: Any) -> str:
        flag = row.use is Use.TRAINER and " " not in row.becomes
        return f"`--{row.becomes}` of the trainer" if flag else _words(row.becomes)

    rows = [
        f"| `{row.name}` | {row.kind.value} | {f'`{row.default}`' if row.default else ''} | {becomes(row)}"
        f"{_refused(row)} |"
        for row in VARIABLES
    ]
    head = "Variables of `task.env`. An exported one wins over the file, where the file says `NAME=${NAME:-...}`.\n"
    return [head, "\n".join(["| Variable | Value | Template | What |", "|---|---|---|---|", *rows]) + "\n"]


def _refused(row: Any) -> str:
    found = [value for value in ("4", "text") if row.refused(value)]
    if not found:
        return ""
    which = "" if len(found) == 2 else f" `{found[0]}`"
    return f"; refused{which}: {_words(row.refused(found[0]))}"


def _older() -> list[str]:
    """Older spellings of the trainer's flags."""
    from speechless.finetune.older import OLDER, Gone, No, Now, Older, Outcome

    def says(outcome: Outcome) -> str:
        match outcome:
            case Now(words):
                return f"`{words.format('X')}`"
            case Gone(why):
                return f"left out: {_words(why)}"
            case No(why):
                return f"refused: {_words(why)}"
            case _:
                return "done anyway"

    def becomes(row: Older) -> str:
        told = [f"`{value}`: {says(outcome)}" for value, outcome in row.values.items()]
        other = [says(row.other) if not told else f"else {says(row.other)}"] if row.other else []
        return "; ".join([*told, *other])

    head = "Older spellings. Each is translated with one line on standard error, or refused.\n"
    rows = [f"| `--{row.name}` | {becomes(row)} |" for row in OLDER]
    return [head, "\n".join(["| Flag | Today |", "|---|---|", *rows]) + "\n"]


MORE = {"python -m speechless.finetune": _variables, "python -m speechless.finetune.finetune": _older}
"""What stands below a command's flags."""


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
    document = getattr(parser, "prints", None)
    if document is not None:
        schema = document.model_json_schema(mode="serialization")
        fields = [
            f"| `{name}` | {kind} | {_words(text)} |" for name, kind, text in _fields(schema, schema, "")
        ]
        head = ["With `-o json`:\n", "| Field | Type | What |", "|---|---|---|"]
        parts.append("\n".join([*head, *fields]) + "\n")
    return parts


def _fields(schema: Schema, whole: Schema, above: str) -> Iterator[tuple[str, str, str]]:
    """Each field of a JSON schema with its type and text; those of an object within it below, as `outer.inner`."""
    for name, field in schema.get("properties", {}).items():
        kinds = field.get("anyOf", [field])
        nullable = any(kind.get("type") == "null" for kind in kinds)
        (found,) = (kind for kind in kinds if kind.get("type") != "null")
        items, inner = found.get("type") == "array", _resolved(found.get("items", found), whole)
        mapped = inner.get("additionalProperties")
        inner = _resolved(mapped, whole) if isinstance(mapped, dict) else inner
        kind = inner.get("type", "any")
        kind = f"{kind} by name" if isinstance(mapped, dict) else f"list of {kind}" if items else kind
        text = field.get("description") or inner.get("description", "")
        yield f"{above}{name}", kind + (" or null" if nullable else ""), text
        mark = "[]" if items else ".*" if isinstance(mapped, dict) else ""
        yield from _fields(inner, whole, f"{above}{name}{mark}.")


def _resolved(schema: Schema, whole: Schema) -> Schema:
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    found: Schema = whole["$defs"][name] if name else schema
    return found


def _row(parser: argparse.ArgumentParser, action: argparse.Action) -> str | None:
    if action.help == argparse.SUPPRESS or isinstance(
        action, argparse._HelpAction | argparse._SubParsersAction
    ):
        return None
    choices = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else None
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    if not action.option_strings:
        names = f"`{action.metavar or choices or action.dest}`"
    elif action.nargs != 0:
        names += f" `{action.metavar or choices or action.dest.upper()}`"
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
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(part if part.startswith("`") else re.sub(r"[<*_\[|{]", r"\\\g<0>", part) for part in parts)


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
    print(TARGET.relative_to(ROOT))
