"""Task directories: a folder with `task.env`, `run_finetune.sh`, `merge.sh` and `dataset/`."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ENV = "task.env"
RUN = ("run_finetune.sh", "run_sft.sh")
MERGE = ("merge.sh", "merge_sft.sh")
"""File names; the second is that of older task directories."""

OLDER = frozenset(
    {
        "ADAPTER_DIM",
        "ADD_REASONING_TOKENS",
        "DEEPSEED",
        "DEEPSEED_STAGE2",
        "DEEPSPEED",
        "GROUP_BY_LENGTH",
        "MAX_MEMORY_MB",
        "NEFTUNE",
        "NUM_EARLY_STOPPING_TRAIN_EPOCHS",
        "NUM_EXPERTS",
        "NUM_GPUS",
        "OPTIM",
        "PROMPT_TYPE",
        "RAY_memory_monitor_refresh_ms",
        "ROPE_THETA",
        "SAVE_STRATEGY",
        "SGLANG_PORT",
        "SLIDING_WINDOW",
        "TASK_NAME",
        "TENSOR_PARALLEL_SIZE",
        "TOPK",
        "VLLM_PORT",
        "WANDB_PROJECT",
    }
)
"""Settings of older task directories that no program of this version reads, exported or not."""

_TEMPLATE = Path("speechless", "finetune", "template")
_ASSIGNED = re.compile(r"^[ \t]*(?P<export>export[ \t]+)?(?P<name>[A-Za-z_]\w*)=(?P<value>.*)$", re.MULTILINE)
_BLANK = re.compile(r"""(?:""|''|"?\$\{\w+:?-\}"?)?\s*(?:#.*)?""")


class TaskError(Exception):
    """A command that cannot be obeyed: what is wrong, and what to do."""


def checked_name(name: str) -> str:
    """A task's name: one folder directly under the current one; TaskError for a path or nothing."""
    if not name or name in {".", ".."} or "/" in name or "\\" in name or "\0" in name or name.startswith("-"):
        raise TaskError(f"--task_name {name!r}: the name of a folder in the current one, not a path")
    return name


def is_task(folder: Path) -> bool:
    """Whether a folder is a task directory."""
    return (folder / ENV).is_file() and _script(folder, RUN) is not None


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
    """Copy the template to `parent/name`; None if that exists already: nothing is overwritten."""
    target = parent / checked_name(name)
    if target.exists():
        return None
    shutil.copytree(template, target, ignore=shutil.ignore_patterns("__pycache__"))
    for script in target.glob("*.sh"):
        # A wheel may have lost the bit.
        script.chmod(script.stat().st_mode | 0o111)
    return target


def tasks_in(parent: Path) -> list[str]:
    """The names of the task directories directly in a folder, sorted."""
    return sorted(entry.name for entry in parent.iterdir() if entry.is_dir() and is_task(entry))


def without_effect(folder: Path) -> list[str]:
    """The settings of a task's `task.env` that have a value which nothing reads, in their order.

    Read by the folder's scripts, by another setting, or, where it is exported, by any program that they start.
    """
    text = (folder / ENV).read_text(encoding="utf-8", errors="replace")
    scripts = [file.read_text(encoding="utf-8", errors="replace") for file in sorted(folder.glob("*.sh"))]
    found = []
    for line in _ASSIGNED.finditer(text):
        name, value = line["name"], line["value"]
        others = [other["value"] for other in _ASSIGNED.finditer(text) if other["name"] != name]
        read = any(re.search(rf"\$\{{?{name}\b", each) for each in (*scripts, *others))
        passed_on = line["export"] and name not in OLDER
        if not (read or passed_on or _BLANK.fullmatch(value) or name in found):
            found.append(name)
    return found


def run_script(parent: Path, name: str, names: tuple[str, str]) -> int:
    """Run the first of a task's scripts that is there; its exit status (128 + n if signal n ended it)."""
    folder = parent / checked_name(name)
    if not is_task(folder):
        raise TaskError(f"{name} is no task directory (it needs {ENV} and {RUN[0]}); 'init' makes one")
    script = _script(folder, names)
    if script is None:
        raise TaskError(f"{name} has no {names[0]}")
    # The script's `python3` is the one that runs this, unless the user names another.
    environment = {"PYTHON": sys.executable, **os.environ}
    child = subprocess.Popen(["bash", f"./{script.name}"], cwd=folder, env=environment)

    def forward(number: int, _: object) -> None:
        child.send_signal(number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        status = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return status if status >= 0 else 128 - status


def _script(folder: Path, names: tuple[str, str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)
