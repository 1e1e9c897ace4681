"""`helm ...`: the chart's path, its values, the flags."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.docs.checks.kubectl import words
from tests.docs.checks.schemas import at, values_problem, values_schema
from tests.docs.shell import Command

CHART = "charts/speechless"
COMMANDS = words(
    "install upgrade uninstall rollback template lint list history status get show package push pull test version diff"
)
SETS = ("--set", "--set-string", "--set-json")
_PAIR = re.compile(r"((?:[^=,\\{}]|\\.)+)=((?:\{[^}]*\}|\\.|[^,\\])*)(?:,|$)")
_STEP = re.compile(r"((?:[^.\[\]\\]|\\.)+)|\[(\d+)\]")


def problem(command: Command) -> str:
    """What is wrong with a helm command; "" where nothing is, or where it is about another chart."""
    words = command.words[1:]
    verb = next((word for word in words if not word.startswith("-")), "")
    if verb and verb not in COMMANDS:
        return f"`helm {verb}` is none of {', '.join(sorted(COMMANDS))} (tests/docs/checks/helm.py)"
    if not any(word.rstrip("/").endswith(CHART) for word in words) and verb in ("install", "template"):
        return ""
    return next((found for flag, text in settings(words) if (found := setting_problem(text, flag))), "")


def settings(words: tuple[str, ...]) -> list[tuple[str, str]]:
    """The flags that set values, each with its text."""
    found = []
    for flag, following in zip(words, (*words[1:], ""), strict=True):
        name, equals, text = flag.partition("=")
        if name in SETS:
            found.append((name, text if equals else following))
    return found


def setting_problem(text: str, flag: str = "--set") -> str:
    """What is wrong with `a.b=c,d[0].e={x,y}`: a key that the chart does not have, or a value that it does not take."""
    if flag == "--set-json" and not text.startswith("{"):
        pairs = [text.partition("=")[::2]]
    else:
        pairs = [(match[1], match[2]) for match in _PAIR.finditer(text)]
    if not pairs:
        return f"{flag} {text}: not KEY=VALUE"
    for key, value in pairs:
        steps = path(key)
        if at(values_schema(), steps) is None:
            return f"{flag} {key}: charts/speechless has no such value"
        if "<" in value or "$" in value:
            continue  # the reader's
        if found := values_problem(nested(steps, meant(value, flag))):
            return f"{flag} {key}={value}: {found}"
    return ""


def path(key: str) -> list[str | int]:
    """`a\\.b.c[0]` as its steps."""
    return [int(match[2]) if match[2] else re.sub(r"\\(.)", r"\1", match[1]) for match in _STEP.finditer(key)]


def meant(text: str, flag: str) -> Any:
    """What Helm makes of a value."""
    if flag == "--set-json":
        return json.loads(text)
    if text.startswith("{"):
        return [meant(word, flag) for word in text.strip("{}").split(",") if word]
    if flag == "--set-string":
        return text
    words: dict[str, Any] = {"true": True, "false": False, "null": None}
    return words[text] if text in words else int(text) if re.fullmatch(r"-?[1-9]\d*|0", text) else text


def nested(steps: list[str | int], value: Any) -> Any:
    """The values that have one setting."""
    for step in reversed(steps):
        value = [value] if isinstance(step, int) else {step: value}
    return value
