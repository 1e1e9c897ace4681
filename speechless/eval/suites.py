"""Which module runs a kind of suite: the table, and what a module has.

A new kind is a row in `speechless.contract.suites`, a row here, and the module.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from speechless.contract import Metric, Suite, SuiteType

if TYPE_CHECKING:
    from speechless.eval.report import Detail, SuiteReport
    from speechless.generate import Generator


@dataclass(frozen=True)
class Running:
    """What a suite runs with."""

    model: Path
    """The model's folder or file."""
    generator: Generator | None
    """The model, loaded: for suites that need a context; the others load what they need themselves."""
    out: Path
    """A folder for the suite's files, part of the artifact. It is there when something was written into it."""
    progress: Callable[[int, tuple[Metric, ...]], None]
    """Gets the steps that are done, of `Module.steps`, and the metrics so far."""
    stopping: Callable[[], bool]
    """Whether to end: StageError(INTERRUPTED)."""


class Module(Protocol):
    """What a suite's module has."""

    Detail: type[Detail]
    """The part of its report that is its own."""

    def load(self, suite: Suite, data: Path) -> Any:
        """Its data, read and checked before a model is; StageError says what is wrong with them."""

    def steps(self, suite: Suite, loaded: Any) -> int:
        """In how many steps it tells its progress."""

    def context(self, suite: Suite, loaded: Any) -> int | None:
        """Tokens of a prompt with its answer at most; None: it does not use the model that is loaded for all."""

    def run(self, suite: Suite, loaded: Any, how: Running) -> SuiteReport:
        """Score the model. StageError(NOTHING_SCORED) where there is no score."""


MODULES: dict[str, str] = {
    SuiteType.HUMANEVAL: "speechless.eval.humaneval.suite",
    SuiteType.PERPLEXITY: "speechless.eval.perplexity",
}
"""By the kind's name."""


def module_of(kind: str) -> Module | None:
    """The module of a kind of suite; None: this version has none."""
    return cast("Module", importlib.import_module(MODULES[kind])) if kind in MODULES else None


def detail_of(told: Mapping[str, Any]) -> Detail:
    """The part of a report that is a suite's own, as its module reads it; ValueError for a kind without a module."""
    module = module_of(str(told.get("type")))
    if module is None:
        raise ValueError(f"no suite of this version is of the type {told.get('type')!r}")
    return module.Detail.model_validate(told)
