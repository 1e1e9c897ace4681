"""The reader of task.env reads what bash reads, and never executes anything."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechless.finetune.taskenv import Unread, parse, read

READ = [
    "A=1",
    "export A=1 B=2",
    "A='a b' B=\"c  d\" # e",
    "A=\"x\"'y'z",
    'A="${HOME}/models"\nB=$A/sub',
    'A="${X:-default}"',
    'A="${X:-$Y}"\nB="${X:-"a b"}"',
    "A=${X:-'a b'}",
    "A=${SET:-d} B=${SET-d} C=${EMPTY:-d} D=${EMPTY-d} E=${SET:+alt} F=${EMPTY+alt} G=${X+alt}",
    "A=~/x B=~ C='~'",
    'A=a\\ b B="a\\$b\\n" C=\\\\',
    "A=1 \\\n B=2",
    'A="one\ntwo"',
    "  A=1\t#c\n\n#A=2\n",
    "A=#no B=x#y",
    "A= B='' C=\"\"",
    'A="--deepspeed ./x.json"\nB="--save_total_limit $A"',
    "A=$ B=a$",
    "A=1\nexport A",
    "A=*.jsonl,b?c B={1,2}",
    'A="a\\\nb"',
    "A=b=c=d",
    'A="it\'s"',
]
ENVIRONMENT = {"HOME": "/srv/me", "SET": "set", "EMPTY": "", "PATH": os.environ["PATH"]}


def by_bash(text: str, folder: Path) -> dict[str, str]:
    """What bash makes of it."""
    (folder / "task.env").write_text(text)
    done = subprocess.run(
        ["bash", "-c", "set -a; source ./task.env; exec env -0"],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        check=True,
        timeout=30,
    )
    pairs = (entry.decode().split("=", 1) for entry in done.stdout.split(b"\0") if entry)
    return {name: value for name, value in pairs if len(name) == 1 and name != "_"}


@pytest.mark.parametrize("text", READ)
def test_it_reads_what_bash_reads(text: str, tmp_path: Path) -> None:
    found = parse(text, ENVIRONMENT)
    assert found.unread == []
    assert found.values == by_bash(text, tmp_path)


@pytest.mark.parametrize(
    ("line", "name", "why"),
    [
        ("A=$(touch pwned)", "A", "nothing is executed"),
        ("A=`touch pwned`", "A", "nothing is executed"),
        ('A="$(touch pwned)"', "A", "nothing is executed"),
        ('A="${X:-$(touch pwned)}"', "A", "nothing is executed"),
        ("A=x | touch pwned", "A", "is no assignment"),
        ("A=x|touch", "A", "| is a pipe"),
        ("A=x; touch pwned", "A", "; is a second command"),
        ("A=x & touch pwned", "A", "is no assignment"),
        ("A=x>pwned", "A", "> is a redirection"),
        ("A=(1 2)", "A", "( is a list or a subshell"),
        ("A=$((1 + 1))", "A", "nothing is executed"),
        ("touch pwned", "", "commands are never executed"),
        ("A=1 touch pwned", "A", "commands are never executed"),
        ("source other.env", "", "commands are never executed"),
        ("A=${X##*/}", "A", "is more than $NAME"),
        ("A=$1", "A", "$1 is not known here"),
        ("A='x", "A", "a quote is not closed"),
        ("A=${X:-y", "A", "a brace is not closed"),
        ("A=${X:=$(touch pwned)}", "A", "nothing is executed"),
    ],
)  # fmt: skip
def test_what_would_run_something_is_told_with_its_line(
    line: str, name: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = parse(f"# a comment\n{line}\n", ENVIRONMENT)
    (unread,) = found.unread
    assert (unread.line, unread.name) == (2, name)
    assert why in unread.why
    assert list(tmp_path.iterdir()) == []


def test_what_depends_on_a_line_that_is_not_read_is_not_known_either() -> None:
    found = parse('A=$(id)\nB="$A/x"\nC=${A:-y}\nD=1\nA=2\nE=$A\n', {})
    assert [(each.line, each.name) for each in found.unread] == [(1, "A"), (2, "B"), (3, "C")]
    assert found.values == {"D": "1", "A": "2", "E": "2"}
    assert found.unknown("A") is None
    assert found.unknown("B") == Unread(2, "B", "$A is not known: the line that sets it is not read")


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("AB=$ '\"\\`(){}:-+|;&<>#~\n\tx1"), max_size=40))
def test_any_text_is_read_to_its_end(text: str) -> None:
    found = parse(text, {"A": "a"})
    assert all(each.why for each in found.unread)


def test_a_file_that_is_no_text_is_read(tmp_path: Path) -> None:
    (tmp_path / "task.env").write_bytes(b"A=\xff\nB=1\n")
    assert read(tmp_path / "task.env", {}).values["B"] == "1"
