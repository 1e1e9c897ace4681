"""`python -m speechless.finetune <init|run|merge|backup|list>`: task directories from a shell."""

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from speechless.arguments import Parser
from speechless.entry import run
from speechless.errors import words_of
from speechless.finetune import tasks
from speechless.finetune.backup import backup
from speechless.output import Document, results

COMMANDS = {
    "init": "make a task directory from the template",
    "run": "train by the task's settings",
    "merge": "merge the task's adapter into its base model",
    "pretrain": "run the task's run_pretrain.sh",
    "backup": "write the task directory to ../NAME-loras.TIME.zip",
    "list": "list the task directories here",
    "moe": "not offered: adapters of experts",
}
SCRIPTS = {"run": tasks.RUN, "merge": tasks.MERGE, "pretrain": tasks.PRETRAIN, "backup": tasks.BACKUP}
_ONLY = {
    "speechless_root": ("init",),
    "task_name": tuple(name for name in COMMANDS if name != "list"),
}
"""Flags, and the commands on which they have an effect."""
NO_EXPERTS = (
    "adapters of experts are not offered: 'run' trains LoRA adapters of all linear layers, of experts, too"
)


class Task(Document):
    """A task directory."""

    name: str
    """The folder's name, as `--task_name` takes it."""
    folder: Path
    """Its absolute path."""


class Tasks(Document):
    """What `list` prints."""

    tasks: list[Task]
    """The task directories directly in the current folder, by name."""


def build_parser() -> Parser:
    """The command line."""
    listed = "; ".join(f"{name}: {what}" for name, what in COMMANDS.items())
    parser = Parser(prog="speechless finetune", description="Fine-tune a model in a task directory.")
    parser.add_argument("command", choices=list(COMMANDS), help=listed)
    parser.add_argument("--task_name", metavar="NAME", help="the task's folder, directly in the current one")
    parser.add_argument(
        "--speechless_root",
        metavar="DIR",
        help="for init: the checkout whose template is used (default: $SPEECHLESS_ROOT where it has one, "
        "else the installed one)",
    )
    parser.add_output(Tasks)
    return parser


def main(argv: Sequence[str]) -> int:
    """Run a command: 0 done, 1 failed, 2 wrong usage, else the script's own exit status."""
    parser = build_parser()
    given = parser.parse(argv)
    here = Path.cwd()
    _check(parser, given)
    if given.command == "list":
        return _list(here, given.output)
    try:
        name = tasks.checked_name(given.task_name)
    except tasks.TaskError as error:
        parser.error(str(error))
    try:
        return _of_task(given, here, name)
    except (tasks.TaskError, OSError) as error:
        print(f"speechless finetune: {words_of(error)}", file=sys.stderr)
        return 1


def _check(parser: Parser, given: Namespace) -> None:
    """Flags that have no effect, and what is missing."""
    command = given.command
    if command == "moe":
        parser.error(f"moe: {NO_EXPERTS}")
    for name, commands in _ONLY.items():
        if getattr(given, name) and command not in commands:
            parser.error(f"--{name} has no effect on {command}")
    if command != "list" and given.output != "text":
        parser.error(f"-o has no effect on {command}: list prints a result")
    if command != "list" and given.task_name is None:
        parser.error(f"{command} needs --task_name")


def _of_task(given: Namespace, here: Path, name: str) -> int:
    if given.command == "init":
        return _init(here, name, given.speechless_root)
    folder = tasks.existing(here, name)
    if given.command == "backup" and tasks.script_of(folder, tasks.BACKUP) is None:
        print(backup(folder))
        return 0
    if given.command in ("run", "pretrain"):
        problems = tasks.problems(folder)
        for line in problems:
            print(f"speechless finetune: {line}", file=sys.stderr)
        if problems:
            return 2
        _warn(folder)
    return tasks.run_script(here, name, SCRIPTS[given.command])


def _warn(folder: Path) -> None:
    if inert := tasks.without_effect(folder):
        what = f"{folder.name}/{tasks.ENV} sets {', '.join(inert)}: nothing reads it, so it has no effect"
        print(f"speechless finetune: {what}", file=sys.stderr)


def _list(here: Path, output: str) -> int:
    names = tasks.tasks_in(here)
    with results(output) as out:
        out.show(Tasks(tasks=[Task(name=name, folder=here / name) for name in names]), "\n".join(names))
    return 0


def _init(here: Path, name: str, root: str | None) -> int:
    made = tasks.init(here, name, tasks.find_template(root, os.environ))
    if made is None:
        print(f"{name} exists already; nothing was changed")
    else:
        print(
            f"{name} is made; edit {name}/{tasks.ENV}, then: python -m speechless.finetune run --task_name {name}"
        )
    return 0


if __name__ == "__main__":
    run("finetune", lambda: main(sys.argv[1:]))
