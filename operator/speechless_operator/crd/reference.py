"""Reference pages (Markdown) from the CRDs: one a kind, and one of all reasons."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from typing import Any

from pydantic.alias_generators import to_camel

from speechless_operator.api import reasons
from speechless_operator.api.base import VALIDATIONS
from speechless_operator.api.common import JobSpec
from speechless_operator.api.kinds import GROUP, KINDS, VERSION, Kind
from speechless_operator.crd.definition import crd

Schema = dict[str, Any]
NOTE = "<!-- Made from operator/speechless_operator/api by `python -m speechless_operator.crd`. Do not edit. -->\n"


def pages() -> dict[str, str]:
    """Every page by its file's name."""
    made = {f"{kind.singular}.md": page(kind) for kind in KINDS.values()}
    return made | {"reasons.md": reasons_page()}


def page(kind: Kind) -> str:
    """The page of one kind."""
    schema = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    spec, status = schema["properties"]["spec"], schema["properties"]["status"]
    parts = [
        NOTE,
        f"# {kind.name}\n",
        f"{schema['description']}\n",
        f"`{GROUP}/{VERSION}`, short name `{kind.short}`, category `speechless`: "
        f"`kubectl get {kind.plural}.{GROUP}`, `kubectl explain {kind.singular}.spec`.\n",
        "## spec\n",
        f"{spec['description']}\n",
        _table(_own_first(spec)),
        "## Rules\n",
        "The API server refuses what breaks them.\n",
        *_told(_rules(schema)),
        "",
        "## status\n",
        f"{status['description']}\n",
        _table(status),
    ]
    return "\n".join(parts)


def reasons_page() -> str:
    """The page of all reasons, from the enum's own docstrings."""
    lines = [
        NOTE,
        "# Reasons\n",
        "One list for conditions, Events and `status.failure.reason`. Paths such as `docs/security.md` are in the "
        "repository.\n",
        "| Reason | Meaning | What to do |",
        "|---|---|---|",
    ]
    tree = ast.parse(inspect.getsource(reasons.Reason)).body[0]
    assert isinstance(tree, ast.ClassDef)
    for statement, after in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(statement, ast.Assign) and isinstance(after, ast.Expr):
            name, text = statement.targets[0], after.value
            if isinstance(name, ast.Name) and isinstance(text, ast.Constant):
                meaning, _, todo = inspect.cleandoc(str(text.value)).partition("\n\n")
                value = reasons.Reason[name.id].value
                lines.append(f"| `{value}` | {_one_line(meaning)} | {_one_line(todo)} |")
    return "\n".join(lines) + "\n"


def _table(schema: Schema) -> str:
    lines = ["| Field | Type | Default | What it is |", "|---|---|---|---|"]
    lines += [
        f"| `{path}` | {_type(node)} | {_default(node, required)} | {_one_line(node.get('description', ''))} |"
        for path, node, required in _fields(schema, "")
    ]
    return "\n".join(lines) + "\n"


def _own_first(spec: Schema) -> Schema:
    """A kind's own fields before those that it shares with others."""
    shared = {to_camel(name) for name in JobSpec.model_fields} | {"pod"}
    return spec | {"properties": dict(sorted(spec["properties"].items(), key=lambda item: item[0] in shared))}


def _fields(schema: Schema, above: str) -> Iterator[tuple[str, Schema, bool]]:
    for name, node in schema.get("properties", {}).items():
        path = f"{above}{name}"
        yield path, node, name in schema.get("required", [])
        if node.get("type") == "array":
            yield from _fields(node["items"], f"{path}[].")
        else:
            yield from _fields(node, f"{path}.")


def _type(node: Schema) -> str:
    if "enum" in node:
        return " or ".join(f"`{value}`" for value in node["enum"])
    if node.get("type") == "array":
        return f"list of {_type(node['items'])}"
    if "additionalProperties" in node:
        return f"map to {_type(node['additionalProperties'])}"
    if node.get("x-kubernetes-int-or-string"):
        return "quantity"
    return str(node["type"]) + _bounds(node)


def _bounds(node: Schema) -> str:
    parts = []
    if "minimum" in node:
        parts.append(f"{'>' if node.get('exclusiveMinimum') else '≥'} {node['minimum']}")
    if "maximum" in node:
        parts.append(f"{'<' if node.get('exclusiveMaximum') else '≤'} {node['maximum']}")
    return f" ({', '.join(parts)})" if parts else ""


def _default(node: Schema, required: bool) -> str:
    if required:
        return "required"
    value = node.get("default", {})
    if value in ({}, []):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _told(rules: Iterator[tuple[str, str]]) -> list[str]:
    """A line a rule; those that say the same of several fields, in one: `x cannot change: ...`."""
    by_text: dict[str, list[str]] = {}
    for path, message in rules:
        field = path.rpartition(".")[2]
        by_text.setdefault(message.removeprefix(f"{field} "), []).append(path)
    return [f"- {', '.join(f'`{path}`' for path in paths)}: {text}" for text, paths in by_text.items()]


def _rules(schema: Schema) -> Iterator[tuple[str, str]]:
    def walk(node: Schema, path: str) -> Iterator[tuple[str, str]]:
        for rule in node.get(VALIDATIONS, []):
            where = path + rule.get("fieldPath", "")
            yield where or "metadata.name", _one_line(rule["message"])
        for name, child in node.get("properties", {}).items():
            yield from walk(child, f"{path}.{name}".lstrip("."))
        if "items" in node:
            yield from walk(node["items"], f"{path}[]")

    return walk(schema, "")


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
