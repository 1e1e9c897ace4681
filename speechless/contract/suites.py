"""The kinds of suites that an evaluation can run: a table, and what follows from it.

A new kind is a row here, its options in `evaluate.SuiteOptions`, and a row with its module in
`speechless/eval/suites.py`. The CustomResourceDefinition, its rules and both ceilings of code execution are made from
the row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from speechless.contract.model import Rule

if TYPE_CHECKING:
    from speechless.contract.evaluate import SuiteOptions


class SuiteType(StrEnum):
    """Names that code refers to. What there is, is in `SUITES`."""

    HUMANEVAL = "HumanEval"
    PERPLEXITY = "Perplexity"


@dataclass(frozen=True)
class SuiteKind:
    """A kind of suite. What guards something has no default: whoever adds a row has to decide it."""

    name: str
    """As `suites[].type` says it."""
    text: str
    """What it measures, in one line."""
    data: str
    """What `suites[].data` is for it, in one line."""
    executes_code: bool
    """Whether it runs programs that the model wrote. Then the evaluation and the operator must both allow it."""
    needs_gpu: bool
    """Whether it cannot run without a GPU."""
    options: tuple[str, ...]
    """The options (names on the wire) that it takes; the others are refused."""
    metrics: Callable[[SuiteOptions], tuple[str, ...] | None]
    """The last parts of its metrics' names with these options; None where they are known only when it ran."""
    text_data: bool = False
    """Whether its data is a text: of a dataset with splits, the rows' `text` one after the other. Else, rows."""
    rules: tuple[Rule, ...] = ()
    """What must hold between its options; `self` is the suite."""


def _humaneval(options: SuiteOptions) -> tuple[str, ...]:
    return (*(f"pass@{k}" for k in dict.fromkeys(options.k)), "samples", "timeouts", "errors")


SUITES: dict[str, SuiteKind] = {
    row.name: row
    for row in (
        SuiteKind(
            name="HumanEval",
            text="code generation, scored by running unit tests (Chen et al., 2021, arXiv:2107.03374).",
            data="problems as in openai/human-eval (JSON Lines, also .gz).",
            executes_code=True,
            needs_gpu=False,
            options=("samplesPerTask", "k", "temperature", "maxTokens", "timeoutSeconds", "limit", "seed"),
            metrics=_humaneval,
            rules=(
                Rule(
                    "!has(self.k) || self.k.all(k, k <= (has(self.samplesPerTask) ? self.samplesPerTask : 1))",
                    "no k may exceed samplesPerTask (1 if it is not set): raise samplesPerTask, or remove that k",
                    ".k",
                ),
                Rule(
                    "!has(self.samplesPerTask) || self.samplesPerTask == 1"
                    " || (has(self.temperature) && self.temperature > 0.0)",
                    "samplesPerTask above 1 needs a temperature above 0: greedy samples are all the same",
                    ".temperature",
                ),
            ),
        ),
        SuiteKind(
            name="Perplexity",
            text="exp of the mean negative log-likelihood a token over a text.",
            data="a text file.",
            executes_code=False,
            needs_gpu=False,
            options=("limit",),
            text_data=True,
            metrics=lambda _: ("perplexity", "samples", "tokens", "errors"),
        ),
    )
}


def executes_code(kind: str) -> bool:
    """Whether suites of a kind run what the model wrote. A kind that nobody knows is taken to do so.

    >>> executes_code("HumanEval"), executes_code("Perplexity"), executes_code("Unheard")
    (True, False, True)
    """
    row = SUITES.get(kind)
    return row is None or row.executes_code


def takers(option: str) -> list[str]:
    """The kinds that take an option.

    >>> takers("limit")
    ['HumanEval', 'Perplexity']
    """
    return [row.name for row in SUITES.values() if option in row.options]


def option_rules(options: Iterable[str]) -> list[Rule]:
    """One rule a kind: it is given none of the options that it does not take; then the kinds' own rules."""
    found = []
    everything = list(options)
    for row in SUITES.values():
        others = [name for name in everything if name not in row.options]
        if others:
            given = " || ".join(f"has(self.{name})" for name in others)
            found.append(
                Rule(
                    f"self.type != '{row.name}' || !({given})",
                    f"{', '.join(others)} are no options of type {row.name}: remove them",
                )
            )
    return found + [
        Rule(f"self.type != '{row.name}' || ({rule.rule})", rule.message, rule.field_path)
        for row in SUITES.values()
        for rule in row.rules
    ]


def code_rule() -> Rule:
    """An evaluation (`self`) agrees to run what the model wrote, if a suite of it does so."""
    names = ", ".join(f"'{row.name}'" for row in SUITES.values() if row.executes_code)
    said = ", ".join(row.name for row in SUITES.values() if row.executes_code)
    return Rule(
        f"self.allowCodeExecution || !self.suites.exists(s, s.type in [{names}])",
        f"suites of type {said} run what the model wrote: set allowCodeExecution: true to agree to that",
        ".allowCodeExecution",
    )
