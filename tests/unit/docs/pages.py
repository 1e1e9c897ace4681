"""The pages of docs/, and the blocks of code in them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.unit.layout.repository import ROOT

DOCS = ROOT / "docs"
_BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)


@cache
def page(name: str) -> str:
    """The text of a page, by its path below docs/."""
    return (DOCS / name).read_text(encoding="utf-8")


def names() -> list[str]:
    """Every page that a person wrote."""
    found = (path.relative_to(DOCS) for path in sorted(DOCS.rglob("*.md")))
    return [str(path) for path in found if path.parent != Path("reference")]


def blocks(text: str, language: str) -> list[str]:
    """The blocks of a language, without their indentation."""
    return [textwrap.dedent(match[3]) for match in _BLOCK.finditer(text) if match[2] == language]


def manifests(text: str) -> Iterator[dict[str, Any]]:
    """The objects of Kubernetes in a page's blocks of YAML."""
    for block in blocks(text, "yaml"):
        for document in yaml.safe_load_all(block):
            if isinstance(document, dict) and "apiVersion" in document:
                yield document
