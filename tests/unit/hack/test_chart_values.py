"""The table of values in the chart's README is what values.yaml says."""

import pytest

from chart_values import TARGET, Row, page, rows, table

EXAMPLE = """\
# A group.
image:
  # Where it is
  # pulled from.
  registry: ""
  # Words, as <name>.
  labels: {}
# What may be asked for.
ceilings: {}
  # env: [a, b]   # Which variables.
# A list.
uses: [one]
"""


def test_the_readme_has_the_values_as_they_are() -> None:
    assert TARGET.read_text() == page(), "run: .venv/bin/python hack/chart_values.py"


def test_a_value_has_its_default_and_the_comment_above_it() -> None:
    assert rows(EXAMPLE) == [
        Row("image", "", "A group."),
        Row("image.registry", '`""`', "Where it is pulled from."),
        Row("image.labels", "`{}`", "Words, as <name>."),
        Row("ceilings", "`{}`", "What may be asked for."),
        Row("ceilings.env", "not set", "Which variables. Such as `[a, b]`."),
        Row("uses", '`["one"]`', "A list."),
    ]


def test_what_is_markup_in_a_comment_is_none_in_the_table() -> None:
    assert table([Row("a", "", "x|y <b> `<c>`")]).splitlines()[-1] == r"| `a` |  | x\|y \<b> `<c>` |"


def test_a_value_without_a_comment_is_a_mistake() -> None:
    with pytest.raises(ValueError, match=r"no comment above: a\.c"):
        rows("# A.\na:\n  # B.\n  b: 1\n\n  c: 2\n")
