"""`python -m speechless.finetune <init|run|merge|list>`: task directories from a shell."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from speechless.arguments import Parser
from speechless.entry import run
from speechless.finetune import tasks

COMMANDS = {
    "init": "make a task directory from the template",
    "run": "train by the task's settings",
    "merge": "merge the task's adapter into its base model",
    "list": "list the task directories here",
}


def build_parser() -> Parser:
    """The command line."""
    listed = "; ".join(f"{name}: {what}" for name, what in COMMANDS.items())
    parser = Parser(prog="speechless finetune", description="Fine-tune a model in a task directory.")
    parser.add_argument("command", choices=list(COMMANDS), metavar="{init,run,merge,list}", help=listed)
    parser.add_argument("--task_name", metavar="NAME", help="the task's folder, directly in the current one")
    parser.add_argument(
        "--speechless_root",
        metavar="DIR",
        help="for init: the checkout whose template is used (default: $SPEECHLESS_ROOT where it has one, "
        "else the installed one)",
    )
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
        print("".join(f"{name}\n" for name in tasks.tasks_in(here)), end="")
        return 0
    if arguments.task_name is None:
        parser.error(f"{arguments.command} needs --task_name")
    try:
        name = tasks.checked_name(arguments.task_name)
    except tasks.TaskError as error:
        parser.error(str(error))
    try:
        if arguments.command == "init":
            return _init(here, name, arguments.speechless_root)
        return tasks.run_script(here, name, tasks.RUN if arguments.command == "run" else tasks.MERGE)
    except (tasks.TaskError, OSError) as error:
        print(f"speechless finetune: {error}", file=sys.stderr)
        return 1


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
