"""`python -m speechless.finetune <init|run|merge|backup|list>`: task directories and manifests from a shell."""

import os
import shlex
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from speechless.arguments import Parser
from speechless.entry import run
from speechless.errors import words_of
from speechless.finetune import tasks
from speechless.finetune.backup import backup
from speechless.finetune.whole import leftovers
from speechless.output import Document, results

COMMANDS = {
    "init": "make a task directory from the template",
    "run": "train by the task's settings, or by a FineTune manifest (-f)",
    "merge": "merge the task's adapter into its base model",
    "pretrain": "run the task's run_pretrain.sh",
    "backup": "write the task directory to ../NAME-loras.TIME.zip",
    "list": "list the task directories here",
    "moe": "run the task's run_moe.sh: experts instead of LoRA's adapters",
}
SCRIPTS = {
    "run": tasks.RUN,
    "merge": tasks.MERGE,
    "pretrain": tasks.PRETRAIN,
    "backup": tasks.BACKUP,
    "moe": tasks.MOE,
}
_ONLY = {
    "speechless_root": ("init",),
    "task_name": tuple(name for name in COMMANDS if name != "list"),
    **dict.fromkeys(("file", "claims", "output_dir", "restart", "dry_run"), ("run",)),
}
"""Flags, and the commands on which they have an effect."""


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
    parser = Parser(
        prog="speechless finetune", description="Fine-tune a model in a task directory, or by a manifest."
    )
    parser.add_argument("command", choices=list(COMMANDS), help=listed)
    parser.add_argument("--task_name", metavar="NAME", help="the task's folder, directly in the current one")
    parser.add_argument(
        "--speechless_root",
        metavar="DIR",
        help="for init: the checkout whose template is used (default: $SPEECHLESS_ROOT where it has one, "
        "else the installed one)",
    )
    parser.add_argument(
        "--dry-run",
        "--dry_run",
        action="store_true",
        help="for run: print the plan, what memory it takes and one row; train and write nothing",
    )
    parser.add_argument(
        "-f", "--file", type=Path, metavar="FILE", help="for run: a FineTune manifest, instead of --task_name"
    )
    parser.add_argument(
        "--claims",
        action="append",
        metavar="NAME=DIR",
        help="with -f: the folder that stands for a claim, pvc://NAME (several times, for several)",
    )
    parser.add_argument(
        "--output_dir",
        type=Path,
        metavar="DIR",
        help="with -f: where the result goes (default: the FineTune's name)",
    )
    parser.add_argument(
        "--restart", action="store_true", help="with -f: train again although the run is complete"
    )
    parser.add_output(Tasks)
    return parser


def main(argv: Sequence[str]) -> int:
    """Run a command: 0 done, 1 failed, 2 wrong usage, else the script's own exit status."""
    if any(word.partition("=")[0] == "--mode" for word in argv):
        from speechless.finetune import lightllm

        return lightllm.main(argv)
    parser = build_parser()
    given = parser.parse(argv)
    here = Path.cwd()
    _check(parser, given)
    if given.command == "list":
        return _list(here, given.output)
    try:
        if given.file is not None:
            return _manifest(given)
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
    for name, commands in _ONLY.items():
        if getattr(given, name) and command not in commands:
            parser.error(f"--{name} has no effect on {command}")
    if given.file is not None and given.task_name is not None:
        parser.error("-f and --task_name: leave one of them out")
    for name in ("claims", "output_dir", "restart"):
        if getattr(given, name) and given.file is None:
            parser.error(f"--{name} goes with -f: in a task directory, {tasks.ENV} says it")
    if command not in ("list", "run") and given.output != "text":
        parser.error(f"-o has no effect on {command}: list and run --dry-run print a result")
    if command == "run" and given.output != "text" and not (given.dry_run or given.file):
        parser.error("-o has no effect on run: with --dry-run or -f it prints a result")
    if command != "list" and given.file is None and given.task_name is None:
        parser.error(f"{command} needs --task_name" + (" or -f" if command == "run" else ""))


def _of_task(given: Namespace, here: Path, name: str) -> int:
    if given.command == "init":
        return _init(here, name, given.speechless_root)
    folder = tasks.existing(here, name)
    if given.command == "backup" and tasks.script_of(folder, tasks.BACKUP) is None:
        print(backup(folder))
        return 0
    if given.command in ("run", "pretrain", "moe"):
        problems = tasks.problems(folder)
        for line in problems:
            print(f"speechless finetune: {line}", file=sys.stderr)
        if problems:
            return 2
        _warn(folder)
    if given.dry_run:
        return tasks.dry_run(here, name, ["-o", given.output])
    return tasks.run_script(here, name, SCRIPTS[given.command])


def _manifest(given: Namespace) -> int:
    from speechless.finetune import manifest

    return manifest.run(given)


def _warn(folder: Path) -> None:
    if inert := tasks.without_effect(folder):
        what = f"{folder.name}/{tasks.ENV} sets {', '.join(inert)}: nothing reads it, so it has no effect"
        print(f"speechless finetune: {what}", file=sys.stderr)


def _list(here: Path, output: str) -> int:
    names = tasks.tasks_in(here)
    for left in (found for folder in (here, *(here / name for name in names)) for found in leftovers(folder)):
        what = (
            f"{left.relative_to(here)} was left by a killed process; the next merge or init there removes it"
        )
        print(f"speechless finetune: {what}", file=sys.stderr)
    with results(output) as out:
        out.show(Tasks(tasks=[Task(name=name, folder=here / name) for name in names]), "\n".join(names))
    return 0


def _init(here: Path, name: str, root: str | None) -> int:
    made = tasks.init(here, name, tasks.find_template(root, os.environ))
    if made is None:
        print(f"{name} exists already; nothing was changed")
    else:
        run = f"python -m speechless.finetune run --task_name {shlex.quote(name)}"
        print(f"{name} is made; edit {name}/{tasks.ENV}, then: {run}")
    return 0


if __name__ == "__main__":
    run("finetune", lambda: main(sys.argv[1:]))
