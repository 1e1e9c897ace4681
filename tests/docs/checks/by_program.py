"""Which checks a command gets, by its program. A program that is not here gets the check of paths alone."""

from __future__ import annotations

from collections.abc import Callable

from tests.docs.checks import helm, kubectl, programs
from tests.docs.shell import Command

Check = Callable[[Command], str]
CHECKS: dict[str, Check] = {
    "helm": helm.problem,
    "kubectl": kubectl.problem,
    "make": programs.make_problem,
    "pip": programs.pip_problem,
    "pip3": programs.pip_problem,
    "speechless": programs.python_problem,
    "speechless-operator": programs.python_problem,
}


def check_of(program: str) -> Check | None:
    """The check of a program by its name, with or without a path before it."""
    if programs.PYTHONS.fullmatch(program):
        return programs.python_problem
    return CHECKS.get(program) or CHECKS.get(program.rpartition("/")[2])


def problem(command: Command) -> str:
    """What is wrong with a command of a block, as far as that can be said without running it."""
    check = check_of(command.words[0])
    return (check(command) if check else "") or programs.path_problem(command)


def problem_in_prose(command: Command) -> str:
    """The same for a command within a sentence, which may leave out what it needs."""
    check = check_of(command.words[0])
    if check is programs.python_problem:
        return programs.python_problem(command, partial=True) or programs.path_problem(command)
    return problem(command)
