"""Python on pages: it compiles, and what it imports exists."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from functools import cache

from tests.unit.layout.repository import ROOT

OURS = ("speechless", "speechless_operator", "tests", "benchmarks")


def problem(text: str) -> str:
    """What is wrong with a block of Python."""
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}"
    return next((found for node in ast.walk(tree) if (found := _import_problem(node))), "")


def _import_problem(node: ast.AST) -> str:
    if isinstance(node, ast.Import):
        return next((found for each in node.names if (found := _module_problem(each.name))), "")
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        if found := _module_problem(node.module):
            return found
        if node.module.partition(".")[0] in OURS:
            missing = [each.name for each in node.names if not _has(node.module, each.name)]
            return f"{node.module} has no {missing[0]}" if missing else ""
    return ""


def _module_problem(name: str) -> str:
    top = name.partition(".")[0]
    if top in OURS:
        return "" if _source(name) else f"there is no module {name}"
    known = importlib.util.find_spec(top) is not None or top.lower().replace("_", "-") in _locked()
    return "" if known else f"the package {top} is in no lock of requirements/"


def _has(module: str, name: str) -> bool:
    """Whether a module of ours has a name: asked of its source, as it may need torch to be imported."""
    if _source(f"{module}.{name}"):
        return True
    tree = ast.parse(_source(module))
    names = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {each.asname or each.name for each in node.names}
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {
                each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)
            }
    return name in names


def _source(module: str) -> str:
    """The source of a module of ours; "" where there is none."""
    path = module.replace(".", "/")
    places = [ROOT / path, ROOT / "operator" / path]
    found = [
        file
        for place in places
        for file in (place / "__init__.py", place.with_suffix(".py"))
        if file.is_file()
    ]
    return (found[0].read_text() or "\n") if found else ""


@cache
def _locked() -> frozenset[str]:
    texts = [path.read_text() for path in (ROOT / "requirements").glob("*.txt")]
    return frozenset(re.findall(r"(?m)^([a-z0-9][a-z0-9._-]*)(?:\[[^\]]*\])?==", "\n".join(texts)))
