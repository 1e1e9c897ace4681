"""The schema of `report.json`: what an evaluation's numbers are and what they rest on.

Nothing in it depends on the clock or the machine's paths, so that equal runs write equal bytes.
"""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SerializeAsAny, field_validator

from speechless import __version__
from speechless.contract import Metric, SuiteType
from speechless.eval.suites import detail_of
from speechless.generate import ModelKind


class ReportModel(BaseModel):
    """The base of the report's parts."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Detail(ReportModel):
    """The base of what each kind of suite has to tell beside its metrics."""

    kind: str
    """The form of it; several kinds of suites may share one."""
    type: str
    """The kind of suite."""


class TaskOutcomes(ReportModel):
    """How many samples of one task, or of a suite, ended how."""

    passed: int = 0
    failed: int = 0
    timed_out: int = 0

    @property
    def samples(self) -> int:
        """All of them."""
        return self.passed + self.failed + self.timed_out


class CodeLimits(ReportModel):
    """What one sample's tests could use."""

    cpu_seconds: float
    wall_seconds: float
    memory_bytes: int


class CodeSuite(Detail):
    """A suite whose samples are programs, run against tests."""

    kind: Literal["code"] = "code"
    type: str = SuiteType.HUMANEVAL
    prompt_mode: str
    stop: tuple[str, ...]
    samples_per_task: int
    temperature: float
    max_tokens: int
    seed: int
    tasks: int
    tasks_in_data: int
    samples: int
    limits: CodeLimits
    isolation: dict[str, str]
    """What held the samples: see speechless/eval/sandbox/README.md."""
    outcomes: TaskOutcomes
    per_task: dict[str, TaskOutcomes]
    cut_off: int
    """Samples that ended for want of tokens (finish reason `length`)."""
    empty: int
    """Samples without any text: the prompt filled the model's context, or the model ended at once."""
    reference_solutions: int
    """The data's own solutions that were run first; all of them passed."""


class SuiteReport(ReportModel):
    """One suite."""

    name: str
    data_name: str
    data_sha256: str
    """The version of the task: of the file as it was read."""
    generator: str
    """The back end."""
    metrics: tuple[Metric, ...]
    intervals: dict[str, tuple[float, float]] = {}
    """The 95 % interval of a score, by the metric's name."""
    detail: SerializeAsAny[Detail]

    @field_validator("detail", mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        return detail_of(value) if isinstance(value, dict) else value


class Report(ReportModel):
    """The whole of `report.json`."""

    version: Literal["v1"] = "v1"
    model_kind: ModelKind
    suites: tuple[SuiteReport, ...]
    versions: dict[str, str]

    def write(self, path: Path) -> None:
        """Write it as JSON that people can read."""
        path.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


def own_versions() -> dict[str, str]:
    """Speechless and the Python that ran the samples."""
    return {"speechless": __version__, "python": platform.python_version()}


def sha256_of(path: Path) -> str:
    """The digest of one file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
