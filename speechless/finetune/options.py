"""The flags of an objective's options, made from the table of objectives: `--dpo_beta`, `--kto_loss_type` and so on."""

import argparse
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic.fields import FieldInfo

from speechless.arguments import Parser
from speechless.contract import Objective
from speechless.contract.model import ContractModel
from speechless.contract.objectives import OBJECTIVES

NAMES = {row.name.lower(): row.name for row in OBJECTIVES.values()}
"""Values of `--objective`."""


class Option(NamedTuple):
    """A flag."""

    objective: Objective
    flag: str
    """Without its dashes."""
    name: str
    """Of the field of the objective's settings."""
    field: FieldInfo


def options() -> Iterator[Option]:
    """Those of every objective."""
    for row in OBJECTIVES.values():
        for name, field in (row.settings.model_fields if row.settings else {}).items():
            yield Option(row.name, f"{row.options}_{name}", name, field)


def add(parser: Parser) -> None:
    """Add the group of flags."""
    group = parser.add_argument_group("objective")
    group.add_argument(
        "--objective",
        choices=list(NAMES),
        default="sft",
        help="; ".join(f"{row.name.lower()}: {row.text.rstrip('.')}" for row in OBJECTIVES.values()),
    )
    for option in options():
        kind, text = option.field.annotation, " ".join((option.field.description or "").split())
        help_ = f"{option.objective}: {text[0].lower()}{text[1:].rstrip('.')}"
        if kind is bool:
            group.add_argument(f"--{option.flag}", action="store_true", default=None, help=help_)
            continue
        choices = get_args(kind) if get_origin(kind) is Literal else None
        group.add_argument(
            f"--{option.flag}",
            type=str if choices else kind,
            choices=choices,
            help=f"{help_} (default: {option.field.default})",
        )


def misplaced(given: argparse.Namespace, objective: Objective) -> str:
    """What is wrong with the flags that were given; empty: nothing."""
    for option in options():
        if option.objective is not objective and getattr(given, option.flag) is not None:
            other = option.objective.lower()
            return f"--{option.flag} goes with --objective {other}: leave one of them out"
    return ""


def without_full(given: argparse.Namespace, objective: Objective) -> str:
    """What is wrong with new weights and adapters; empty: nothing."""
    row = OBJECTIVES[objective]
    flag = f"{row.options}_{row.new_weights}"
    if row.new_weights and getattr(given, flag) and not given.full_finetune:
        return f"--{flag} goes with --full_finetune: there is nothing to adapt"
    return ""


def settings(given: argparse.Namespace, objective: Objective) -> ContractModel | None:
    """The options of the objective: those that are given, and its defaults. pydantic's ValidationError as it comes."""
    told: dict[str, Any] = {
        option.name: getattr(given, option.flag)
        for option in options()
        if option.objective is objective and getattr(given, option.flag) is not None
    }
    made = OBJECTIVES[objective].settings
    return made(**told) if made else None
