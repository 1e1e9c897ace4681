"""Every command of every page: it has a row in tests/docs/table.py, it is right as far as can be said, and runs."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import test_all
from tests.docs.checks import by_program, programs, python_blocks, yaml_blocks
from tests.docs.pages import LANGUAGES, SHELL, Block, blocks, pages
from tests.docs.prose import in_prose
from tests.docs.rows import HOW, Cannot, Demo, Here, Ran, Row, Step, chosen, on_demo, unplaced, unused
from tests.docs.shell import Command, script
from tests.docs.table import ROWS, documented
from tests.unit.layout.repository import ROOT

HERE = chosen(documented(), ROWS, Here)
ON_DEMO = chosen(documented(), ROWS, Demo)


def test_every_command_has_a_row() -> None:
    found = unplaced(documented(), ROWS)
    assert not found, "\n".join(["commands of pages that the table does not place:", *found, "", HOW])


def test_every_row_has_a_command() -> None:
    found = unused(documented(), ROWS)
    assert not found, "\n".join(
        ["rows of tests/docs/table.py that fit no command of any page; remove them:", *found]
    )


@pytest.mark.parametrize("program", [*by_program.CHECKS, "python", "frobnicate"])
def test_no_row_takes_whatever_a_program_is_told(program: str) -> None:
    nonsense = Command(Block("page.md", 1, "console", ""), (program, "frobnicate", "--all", "now"))
    assert [row.shape for row in ROWS if row.fits(nonsense)] == [], "name the sub-command"


def test_what_a_row_names_exists() -> None:
    steps = {step.name for step in test_all.STEPS}
    assert [
        row.where.name for row in ROWS if isinstance(row.where, Step) and row.where.name not in steps
    ] == []
    named = {row.where.test for row in ROWS if isinstance(row.where, Ran)}
    assert [test for test in sorted(named) if not exists(test)] == []


def exists(test: str) -> bool:
    """Whether `path::name` is a test of this repository."""
    path, _, name = test.partition("::")
    file = ROOT / path
    return file.is_file() and any(
        isinstance(node, ast.FunctionDef) and node.name == name for node in ast.parse(file.read_text()).body
    )


def test_a_reason_says_something() -> None:
    assert [
        row.shape for row in ROWS if isinstance(row.where, Cannot) and len(row.where.why.split()) < 3
    ] == []


def test_every_fence_says_what_it_holds() -> None:
    silent = [block.place for block in blocks() if block.language not in LANGUAGES]
    assert silent == [], f"a block begins with ``` and one of: {', '.join(LANGUAGES)}; a drawing is `text`"


def test_no_command_hides_in_an_indented_block() -> None:
    hidden = [
        f"{page}: {line.strip()}"
        for page, text in pages().items()
        for line in re.findall(r"(?m)^\n {4}(\S.*)$", re.sub(r"(?ms)^ *```.*?^ *```", "", text))
        if by_program.check_of(line.split()[0]) or line.startswith("$ ")
    ]
    assert hidden == [], "put it between ```console and ```"


def test_every_block_is_a_script_that_a_shell_can_read() -> None:
    wrong = {}
    for block in blocks(*SHELL):
        text = re.sub(r"<([a-z][\w ./-]*)>", "PLACE", script(block.text))
        done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
        if done.returncode or done.stderr:
            wrong[block.place] = done.stderr
    assert wrong == {}


def test_every_command_is_right_as_far_as_that_can_be_said() -> None:
    wrong = [f"{each}\n    {found}" for each in documented() if (found := problem(each))]
    assert not wrong, "\n".join(["commands of pages that are wrong:", *wrong])


def problem(command: Command) -> str:
    """What is wrong with a command, or a block of Python."""
    if command.words[0] == "python:":
        return python_blocks.problem(command.block.text)
    return by_program.problem(command)


def test_every_command_in_a_sentence_is_right_too() -> None:
    wrong = [f"{each}\n    {found}" for each in in_prose() if (found := by_program.problem_in_prose(each))]
    assert not wrong, "\n".join(["commands within sentences that are wrong:", *wrong])


def test_every_block_of_yaml_fits_a_schema() -> None:
    wrong = {block.place: found for block in blocks("yaml") if (found := yaml_blocks.problem(block.text))}
    assert wrong == {}


@pytest.mark.parametrize(("command", "row"), ON_DEMO, ids=[str(command) for command, _ in ON_DEMO])
def test_what_is_run_on_the_demo_names_what_it_has(command: Command, row: Row) -> None:
    assert by_program.problem(Command(command.block, tuple(on_demo(command, row)))) == ""


def argv(command: Command) -> list[str]:
    """A command as it is run here: `python3` is the interpreter of the tests, `speechless` stands beside it."""
    program, *words = command.words
    if program.startswith("speechless"):
        program = str(Path(sys.executable).with_name(program))
    return [sys.executable if programs.PYTHONS.fullmatch(program) else program, *words]


@pytest.mark.parametrize(("command", "row"), HERE, ids=[command.text for command, _ in HERE])
def test_it_runs(command: Command, row: Row) -> None:
    assert isinstance(row.where, Here)
    done = subprocess.run(
        argv(command),
        cwd=ROOT,
        env=os.environ | command.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert row.where.prints in done.stdout
