"""The problems: JSON Lines as in openai/human-eval, plain or gzipped."""

from __future__ import annotations

import gzip
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from speechless.contract import MANIFEST_NAME, FailureReason
from speechless.errors import StageError

GZIP_MAGIC = b"\x1f\x8b"


class Problem(BaseModel):
    """One task. Other fields of a row are left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    task_id: str = Field(min_length=1)
    prompt: str
    entry_point: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """The function's name."""
    test: str
    """Python that defines `check(candidate)`."""
    canonical_solution: str | None = None
    """A completion that passes."""

    def program(self, completion: str) -> str:
        """What is run: it ends normally if the completion is right."""
        return self.tested(f"{self.prompt}{completion}")

    def tested(self, solution: str) -> str:
        """The same for a whole program."""
        return f"{solution}\n{self.test}\ncheck({self.entry_point})"


def read_problems(path: Path) -> list[Problem]:
    """Read a file, or the only .jsonl or .jsonl.gz file of a folder; `DATASET_INVALID` names the line at fault."""
    file = data_file(path, ("*.jsonl", "*.jsonl.gz"))
    raw = file.read_bytes()
    try:
        text = (gzip.decompress(raw) if raw.startswith(GZIP_MAGIC) else raw).decode("utf-8-sig")
        lines = text.split("\n")
    except (OSError, EOFError, UnicodeDecodeError) as broken:
        raise StageError(FailureReason.DATASET_INVALID, f"{file.name}: cannot be read: {broken}") from broken
    problems: dict[str, Problem] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{file.name}:{number}"
        try:
            problem = Problem.model_validate_json(line)
        except ValidationError as invalid:
            faults = "; ".join(
                f"{'.'.join(map(str, e['loc'])) or 'row'}: {e['msg']}"
                for e in invalid.errors(include_url=False)
            )
            raise StageError(
                FailureReason.DATASET_INVALID,
                f"{where}: {faults}",
                "A row is a JSON object with task_id, prompt, entry_point and test, as in openai/human-eval.",
            ) from None
        if problem.task_id in problems:
            raise StageError(
                FailureReason.DATASET_INVALID, f"{where}: task_id {problem.task_id} occurs twice"
            )
        problems[problem.task_id] = problem
    if not problems:
        raise StageError(FailureReason.DATASET_INVALID, f"{file.name}: no problems in it")
    return list(problems.values())


def data_file(path: Path, patterns: tuple[str, ...]) -> Path:
    """The file itself, or the only one of a folder that matches."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise StageError(FailureReason.INPUT_NOT_FOUND, f"{path}: no such file or folder")
    found = sorted(
        {file for pattern in patterns for file in path.glob(pattern) if file.name != MANIFEST_NAME}
    )
    if len(found) == 1:
        return found[0]
    names = ", ".join(file.name for file in found) or "none"
    raise StageError(
        FailureReason.DATASET_INVALID,
        f"{path}: expected one file {' or '.join(patterns)}, found {names}",
        "Name the file itself.",
    )
