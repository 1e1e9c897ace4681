"""Task directories: a folder with `task.env`, `run_finetune.sh`, `merge.sh` and `dataset/`."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from speechless.finetune import taskenv, variables
from speechless.finetune.taskenv import TaskEnv
from speechless.finetune.whole import whole

ENV = "task.env"
RUN = ("run_finetune.sh", "run_sft.sh")
MERGE = ("merge.sh", "merge_sft.sh")
PRETRAIN = ("run_pretrain.sh",)
MOE = ("run_moe.sh",)
BACKUP = ("backup.sh",)
"""File names; the second is that of older task directories."""

_TEMPLATE = Path("speechless", "finetune", "template")


class TaskError(Exception):
    """A command that cannot be obeyed: what is wrong, and what to do."""


def checked_name(name: str) -> str:
    """A task's name: a folder directly under the current one; TaskError for a path, nothing, what cannot be printed."""
    if not name or name in {".", ".."} or "/" in name or "\\" in name or "\0" in name or name.startswith("-"):
        raise TaskError(f"--task_name {name!r}: the name of a folder in the current one, not a path")
    if not name.isprintable():
        raise TaskError(f"--task_name {name!r}: a line end or another character that cannot be printed")
    return name


def is_task(folder: Path) -> bool:
    """Whether a folder is a task directory."""
    return (folder / ENV).is_file() and script_of(folder, RUN) is not None


def find_template(root: str | None, environment: Mapping[str, str]) -> Path:
    """The template: below the flag's root, else below $SPEECHLESS_ROOT, else the installed package's own.

    SPEECHLESS_ROOT may be exported for an older checkout, whose template lies elsewhere: then the next one counts.
    A flag that names none is a mistake.
    """
    own = Path(__file__).parent / "template"
    exported = environment.get("SPEECHLESS_ROOT")
    template = Path(root) / _TEMPLATE if root else Path(exported) / _TEMPLATE if exported else own
    if is_task(template):
        return template
    if root:
        raise TaskError(f"--speechless_root: {template} is no task template (it needs {ENV} and {RUN[0]})")
    return own


def init(parent: Path, name: str, template: Path) -> Path | None:
    """Copy the template to `parent/name`; None if that exists already: nothing is overwritten.

    A copy that is broken off leaves nothing. StageError as of `whole`.
    """
    target = parent / checked_name(name)
    if os.path.lexists(target):
        return None
    with whole(target) as partial:
        shutil.copytree(template, partial, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        for script in partial.glob("*.sh"):
            # A wheel may have lost the bit.
            script.chmod(script.stat().st_mode | 0o111)
    return target


def tasks_in(parent: Path) -> list[str]:
    """The names of the task directories directly in a folder, sorted."""
    return sorted(entry.name for entry in parent.iterdir() if entry.is_dir() and is_task(entry))


def settings(folder: Path) -> TaskEnv:
    """What a task's `task.env` sets, where this process's environment was exported before."""
    return taskenv.read(folder / ENV, os.environ)


def without_effect(folder: Path) -> list[str]:
    """What a task's `task.env` sets to a value that nothing reads, in its order; not what `problems` refuses."""
    told = []
    for name in _unread(folder):
        row = variables.BY_NAME.get(name)
        if row is not None:
            told.append(f"{name} ({row.becomes})" if row.use is variables.Use.SERVE else name)
        elif not variables.nearest(name):
            told.append(name)
    return told


def _unread(folder: Path) -> Iterator[str]:
    """What is set to a value that nothing reads: no script of the folder, no other setting, and, where it is exported,
    no program that they start."""
    found = settings(folder)
    text = (folder / ENV).read_text(encoding="utf-8", errors="replace")
    scripts = [file.read_text(encoding="utf-8", errors="replace") for file in sorted(folder.glob("*.sh"))]
    for name, value in found.values.items():
        row = variables.BY_NAME.get(name)
        passed_on = name in found.exported and (row is None or row.use in _BY_ENVIRONMENT)
        if value and not passed_on and not _reads(name, [*scripts, text]):
            yield name


_BY_ENVIRONMENT = (variables.Use.PLACES, variables.Use.PASSED)


def _reads(name: str, texts: Iterable[str]) -> bool:
    """Whether a script names the variable, or another setting does: `NAME="${NAME:-...}"` alone does not count."""
    own = re.compile(rf"^[ \t]*(export[ \t]+)?{name}=.*$", re.MULTILINE)
    named = re.compile(rf"\$\{{?{name}\b|^[ \t]*(pass|switch) \w+ {name}$", re.MULTILINE)
    return any(named.search(own.sub("", text)) for text in texts)


def problems(folder: Path) -> list[str]:
    """What is wrong with the settings of a task, a line each."""
    if b"\r\n" in (folder / ENV).read_bytes():
        return [
            f"{folder.name}/{ENV}: its lines end as on Windows, which bash does not read: sed -i 's/\\r$//' {ENV}"
        ]
    found = settings(folder)
    meant = {name: variables.nearest(name) for name in _unread(folder)}
    wrong = [
        f"line {found.lines[name]}: {name}: nothing reads it{near}" for name, near in meant.items() if near
    ]
    return [f"{folder.name}/{ENV}: {told}" for told in (*variables.problems(found, os.environ), *wrong)]


def run_script(parent: Path, name: str, names: tuple[str, ...]) -> int:
    """Run the first of a task's scripts that is there; its exit status (128 + n if signal n ended it)."""
    folder = existing(parent, name)
    script = script_of(folder, names)
    if script is None:
        raise TaskError(f"{name} has no {names[0]}")
    # The script's `python3` is the one that runs this, unless the user names another.
    return _wait(["bash", f"./{script.name}"], folder, {"PYTHON": sys.executable, **os.environ})


def dry_run(parent: Path, name: str, more: Sequence[str]) -> int:
    """Have the trainer print the plan of a task; its exit status. No script of the task is started.

    `more`: further flags of the trainer.
    """
    folder = existing(parent, name)
    found = settings(folder)
    try:
        argv = variables.arguments(found, os.environ)
    except ValueError as error:
        raise TaskError(f"{name}/{ENV}: {error}") from None
    if "--model_name_or_path" not in argv:
        raise TaskError(f"{name}/{ENV}: BASE_MODEL_PATH is empty: set it, or export it")
    if "--dataset" not in argv:
        raise TaskError(f"{name}/{ENV}: DATASET is empty: set it, or export it")
    exported = {
        row.name: found.values[row.name]
        for row in variables.VARIABLES
        if row.use in _BY_ENVIRONMENT and row.name in found.values
    }
    command = [sys.executable, "-m", "speechless.finetune.finetune", *argv, "--dry_run", *more]
    return _wait(command, folder, os.environ | exported)


def existing(parent: Path, name: str) -> Path:
    """The folder of a task; TaskError if there is none."""
    folder = parent / checked_name(name)
    if not is_task(folder):
        raise TaskError(f"{name} is no task directory (it needs {ENV} and {RUN[0]}); 'init' makes one")
    return folder


def script_of(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The first of these scripts that is there."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _wait(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> int:
    """Run a command in a folder, with signals passed on; its exit status."""
    child = subprocess.Popen(command, cwd=folder, env=environment)

    def forward(number: int, _: object) -> None:
        child.send_signal(number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        status = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return status if status >= 0 else 128 - status
