"""What a sample is allowed, what held it, and how it ended."""

from dataclasses import asdict, dataclass
from enum import StrEnum

MIB = 1024 * 1024


class Verdict(StrEnum):
    """How a sample ended."""

    PASSED = "passed"
    FAILED = "failed"
    TIMED_OUT = "timed out"


@dataclass(frozen=True)
class Limits:
    """What one sample may use."""

    cpu_seconds: float
    """Processor time: a slow or busy machine must not lower a score, which a limit on wall time does."""
    memory_bytes: int = 1024 * MIB
    """Address space (`RLIMIT_AS`)."""
    file_bytes: int = 16 * MIB
    """Of each file that it writes."""
    open_files: int = 64
    processes: int = 64
    """Processes and threads of this user, above those that run already; where seccomp does not forbid processes."""

    @property
    def wall_seconds(self) -> float:
        """Twice the processor time and two seconds: for programs that sleep, with room for a machine that is busy."""
        return 2 * self.cpu_seconds + 2


@dataclass(frozen=True)
class Isolation:
    """What holds a sample on this machine, as it was found by trying. Recorded in the report."""

    processes: str
    """`seccomp`: it cannot start any; `kill`: it can, and all are killed at its end."""
    network: str
    """`seccomp`: no sockets; `namespace`: an empty network; `none`: nothing but what surrounds the evaluator."""
    files: str
    """`landlock`: only its own folder can be written; `user`: whatever the evaluator's user may write."""

    def as_dict(self) -> dict[str, str]:
        """For the report and the supervisor."""
        return asdict(self)


@dataclass(frozen=True)
class Outcome:
    """How a program ended. `result` is in the words of openai/human-eval: passed, timed out, failed: <why>."""

    verdict: Verdict
    result: str

    @property
    def passed(self) -> bool:
        """Whether all tests passed."""
        return self.verdict is Verdict.PASSED
