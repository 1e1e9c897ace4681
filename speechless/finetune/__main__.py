"""`python -m speechless.finetune <init|run|merge|list>`: task directories from a shell."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from speechless.arguments import Parser
from speechless.entry import run
from speechless.errors import words_of
from speechless.finetune import tasks
from speechless.output import Document, results

COMMANDS = {
    "init": "make a task directory from the template",
    "run": "train by the task's settings",
    "merge": "merge the task's adapter into its base model",
    "list": "list the task directories here",
}


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
    arguments = parser.parse(argv)
    here = Path.cwd()
    if arguments.command != "init" and arguments.speechless_root is not None:
        parser.error(f"--speechless_root has no effect on {arguments.command}")
    if arguments.command == "list":
        if arguments.task_name is not None:
            parser.error("--task_name has no effect on list")
        return _list(here, arguments.output)
    if arguments.output != "text":
        parser.error(f"-o has no effect on {arguments.command}: list prints a result")
    if arguments.task_name is None:
        parser.error(f"{arguments.command} needs --task_name")
    try:
        name = tasks.checked_name(arguments.task_name)
    except tasks.TaskError as error:
        parser.error(str(error))
    try:
        if arguments.command == "init":
            return _init(here, name, arguments.speechless_root)
        if arguments.command == "run" and tasks.is_task(here / name):
            _warn(here / name)
        return tasks.run_script(here, name, tasks.RUN if arguments.command == "run" else tasks.MERGE)
    except (tasks.TaskError, OSError) as error:
        print(f"speechless finetune: {words_of(error)}", file=sys.stderr)
        return 1


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
