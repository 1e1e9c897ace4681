"""Flags that are made from settings: those of an objective's options, such as `--dpo_beta`, and of a few others."""

import argparse
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from speechless.arguments import Parser
from speechless.contract import METHODS, Objective
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
        add_field(group, option.flag, option.field, f"{option.objective}: ")


def add_field(group: Any, flag: str, field: FieldInfo, whose: str = "") -> None:
    """Add a flag for a field, with its documentation; not given, it is None."""
    kind, choices = _kind(field.annotation)
    text = " ".join((field.description or "").split()).rstrip(".")
    text = f"{whose}{text[0].lower() if whose else text[0]}{text[1:]}"
    if kind is bool and field.default is False:
        group.add_argument(f"--{flag}", action="store_true", default=None, help=text)
        return
    default = "" if field.default is None or field.is_required() else f" (default: {field.default})"
    if kind is bool:
        group.add_argument(f"--{flag}", type=truth, metavar="true|false", help=f"{text}{default}")
        return
    group.add_argument(f"--{flag}", type=kind, choices=choices, help=f"{text}{default}")


def _kind(annotation: Any) -> tuple[Any, tuple[Any, ...] | None]:
    """What a value is made by, and the values that there are."""
    if get_origin(annotation) in (Union, UnionType):
        (annotation,) = (part for part in get_args(annotation) if part is not type(None))
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is Literal:
        return str, get_args(annotation)
    return annotation, None


def truth(word: str) -> bool:
    """A flag's value that is true or false."""
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if word.lower() not in known:
        raise argparse.ArgumentTypeError(f"{word!r} is neither true nor false")
    return known[word.lower()]


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
    if row.new_weights and getattr(given, flag) and METHODS[given.method].adapters:
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
