"""Pages to blocks, blocks to commands."""

import pytest

from tests.docs.pages import Block, blocks_of
from tests.docs.prose import commands_in
from tests.docs.shell import commands

PAGE = """\
# A page

```console
make a
```

- In a list:

  ```python title="x.py"
  if x:
      y()
  ```

~~~~yaml
a: |
  ```console
  no block
  ```
~~~~

    python -m indented
"""


def texts(text: str) -> list[str]:
    """The commands of a block."""
    return [command.text for command in commands(Block("p.md", 1, "console", text)) if command.words]


def test_blocks_are_found_with_line_and_language_and_without_indentation() -> None:
    found = [(block.line, block.language, block.text) for block in blocks_of("p.md", PAGE)]
    assert found[0] == (3, "console", "make a")
    assert found[1] == (9, "python", "if x:\n    y()")
    assert [block[:2] for block in found[2:]] == [(14, "yaml")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("make a   # don't\nmake b", ["make a", "make b"]),
        ("$ make a\nout: $ make b\n$ make c \\\n  D=1\nout", ["make a", "make c D=1"]),
        ("a 1 \\\n  --b 2\nc", ["a 1 --b 2", "c"]),
        ("a | b && c || d; e & wait -n", ["a", "b", "c", "d", "e", "wait -n"]),
        ("X=1 Y='a b' make t", ["X=1 Y=a b make t"]),
        ("X=1\nmake t", ["make t"]),
        ("for i in a b; do\n  docker push $i\ndone", ["docker push $i"]),
        ("if ! a; then\n  sudo b\nfi", ["a", "b"]),
        ("a > file 2>&1 < other", ["a"]),
        ("kubectl get slis <name> -o yaml > x", ["kubectl get slis <name> -o yaml"]),
        ('a \'{.x[?(@.y=="Z")].m}{"\\n"}\'', ['a {.x[?(@.y=="Z")].m}{"\\n"}']),
        ("a 'x # y' b#c", ["a x # y b#c"]),
        ('a "$(b c)" $(d)', ["b c", "a $(b c) $", "d"]),
        ("a 'one\ntwo'\nb", ["a one\ntwo", "b"]),
    ],
)
def test_a_block_is_split_as_a_shell_splits_it(text: str, expected: list[str]) -> None:
    assert texts(text) == expected


def test_a_here_document_is_kept_with_its_command() -> None:
    first, second = commands(Block("p.md", 1, "sh", "kubectl apply -f - <<'EOF'\na: 1\n# b\nEOF\nmake x\n"))
    assert (first.text, first.stdin, second.text) == ("kubectl apply -f -", "a: 1\n# b\n", "make x")


def test_commands_within_sentences() -> None:
    text = "Say `make help`, `kubectl\nget ft`, or `name`.\n\n```console\nmake no\n```\n| `helm a \\| b` |\n"
    found = commands_in("p.md", text)
    assert [(each.block.line, each.text) for each in found] == [
        (1, "make help"),
        (1, "kubectl get ft"),
        (7, "helm a"),
    ]
