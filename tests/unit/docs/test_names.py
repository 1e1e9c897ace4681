"""Files and folders that a page names exist."""

from __future__ import annotations

import re

import pytest

from tests.unit.docs.pages import names, page
from tests.unit.layout.repository import ROOT, files

_FENCE = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)
TOP = {path.parts[0] for path in files() if len(path.parts) > 1 and not path.parts[0].startswith(".")}


def paths(text: str) -> list[str]:
    """What stands in backticks and begins with a folder of this repository; blocks of code have other paths, too."""
    words = re.findall(r"`([\w./-]+)`", _FENCE.sub("", text))
    return [word for word in words if "/" in word and word.split("/")[0] in TOP]


@pytest.mark.parametrize("name", names())
def test_the_files_that_a_page_names_exist(name: str) -> None:
    assert [path for path in paths(page(name)) if not (ROOT / path).exists()] == []


def test_the_page_about_extending_names_files() -> None:
    assert {"speechless/contract/suites.py", "speechless/eval"} <= set(paths(page("extending.md")))


def test_a_file_that_is_gone_is_caught() -> None:
    text = "See `speechless/none.py`, `/work` and `a/b`.\n```console\nls `docs/none.md`\n```\n"
    assert paths(text) == ["speechless/none.py"]
