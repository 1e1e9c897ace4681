"""The page about training data and the tables that it describes."""

import re

from speechless.contract import DatasetFormat
from speechless.contract.prompt_types import FORMS
from speechless.data import FORMATS
from speechless.data.files import KINDS
from tests.unit.layout.repository import ROOT

PAGE = (ROOT / "docs" / "howto" / "training-data.md").read_text()


def test_every_format_stands_on_the_page_with_all_its_names() -> None:
    table = PAGE.partition("## Prompt types")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (`[^|]+`) \|", table, re.MULTILINE))
    assert {name: flags.replace("`", "").split(", ") for name, flags in rows.items()} == {
        str(row.name): list(row.flags) for row in FORMATS
    }
    assert set(rows) == set(DatasetFormat) - {DatasetFormat.AUTO}


def test_every_prompt_type_stands_on_the_page_with_its_form() -> None:
    table = PAGE.partition("## Prompt types")[2].partition("\n## ")[0]
    told = re.findall(r"^\| (`[^|]+`) \| ([^|]+) \|$", table, re.MULTILINE)
    rows = [
        (", ".join(f"`{word}`" for word in (form.name.value, *form.aliases)), form.text)
        for form in FORMS.values()
    ]
    assert told == [(names, text) for names, text in rows]


def test_every_kind_of_file_stands_on_the_page() -> None:
    told = re.findall(r"`(\.\w+)`", PAGE.partition("## Files")[2].partition("All but")[0])
    assert told == [kind.suffix for kind in KINDS]
