"""The model card of what was trained: README.md with the front matter that model hubs read, and the loss as a picture.

Source: https://huggingface.co/docs/hub/model-cards. The same run gives the same bytes: no times, no names of machines.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue

from speechless.contract import Method, Objective
from speechless.contract.objectives import OBJECTIVES
from speechless.finetune.heads import HEADS
from speechless.finetune.job import Outcome, Point

CARD, CURVE = "README.md", "loss.svg"
_LONGEST = 300
"""Characters of a setting that is shown."""
_WIDTH, _HEIGHT, _MARGIN = 640, 280, 48


@dataclass(frozen=True)
class Card:
    """What the card says beside the numbers."""

    base: str
    """The base model, as others find it."""
    base_digest: str
    data: str
    """The rows, as others find them."""
    data_digest: str
    objective: Objective
    method: Method
    settings: Mapping[str, JsonValue] = field(default_factory=dict)
    licence: str = ""
    """The base model's, by its identifier; empty: it names none."""
    adapter: bool = False
    """Whether this is an adapter alone."""


def write(folder: Path, card: Card, outcome: Outcome) -> None:
    """Write the card and its picture into the folder of the result."""
    if outcome.curve:
        (folder / CURVE).write_text(picture(outcome.curve))
    (folder / CARD).write_text("\n".join(_lines(card, outcome)) + "\n")


def _lines(card: Card, outcome: Outcome) -> Iterable[str]:
    tags = ["speechless", card.objective.value.lower(), card.method.value.lower()]
    yield from ("---", f"base_model: {json.dumps(card.base)}")
    if card.licence:
        yield f"license: {json.dumps(card.licence)}"
    yield f"library_name: {'peft' if card.adapter else 'transformers'}"
    yield from (
        f"pipeline_tag: {HEADS[OBJECTIVES[card.objective].head].pipeline}",
        f"tags: {json.dumps(tags)}",
        "---",
        "",
    )
    kind = "An adapter for" if card.adapter else "Trained from"
    yield from (f"# {kind} {card.base}", "", f"{card.objective}: {OBJECTIVES[card.objective].text}", "")
    if not card.licence:
        yield from ("The base model names no licence. Its terms hold for this model, too.", "")
    numbers = {metric.name: metric.value for metric in outcome.metrics}
    yield from _table(
        "What it was made from",
        {
            "base model": f"`{card.base}`",
            "its digest": f"`{card.base_digest}`",
            "data": f"`{card.data}`",
            "its digest ": f"`{card.data_digest}`",
            **{name.removeprefix("train/").replace("_", " "): f"{value:g}" for name, value in numbers.items()
               if name.startswith("train/") and float(value).is_integer()},
        },
    )  # fmt: skip
    yield from _table(
        "How well it learned",
        {name: f"{value:.4g}" for name, value in numbers.items() if not float(value).is_integer()},
    )
    if outcome.curve:
        yield from (f"![Loss over the steps]({CURVE})", "")
    yield from _table("Settings", {name: f"`{value}`" for name, value in _flat(card.settings)})


def _table(title: str, rows: Mapping[str, str]) -> Iterable[str]:
    if rows:
        yield from (f"## {title}", "", "| | |", "|---|---|")
        yield from (f"| {name.strip()} | {_cell(value)} |" for name, value in rows.items())
        yield ""


def _cell(text: str) -> str:
    """A name or a setting is a user's text: it must not end the cell or the line."""
    return text.replace("|", "\\|").replace("\n", " ")


def _flat(settings: Mapping[str, JsonValue], above: str = "") -> Iterable[tuple[str, str]]:
    for name, value in sorted(settings.items()):
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", json.dumps(value) if not isinstance(value, str) else _short(value)


def _short(text: str) -> str:
    """A long text, such as a chat template, is named by its digest: the result has it in a file of its own."""
    if len(text) <= _LONGEST:
        return text
    return f"{len(text)} characters, sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def picture(curve: Sequence[Point]) -> str:
    """The losses over the steps as SVG: of the training rows as a line, of the held-out rows as a second one."""
    lines = [
        ("training", "#1f77b4", [(point.step, point.loss) for point in curve if point.loss is not None]),
        (
            "held out",
            "#d62728",
            [(point.step, point.eval_loss) for point in curve if point.eval_loss is not None],
        ),
    ]
    values = [value for _, _, points in lines for _, value in points]
    low, high, last = min(values), max(values), max(point.step for point in curve)
    spread = (high - low) or 1.0

    def at(step: int, value: float) -> str:
        x = _MARGIN + (_WIDTH - 2 * _MARGIN) * step / max(1, last)
        y = _HEIGHT - _MARGIN - (_HEIGHT - 2 * _MARGIN) * (value - low) / spread
        return f"{x:.1f},{y:.1f}"

    drawn = [
        f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{" ".join(at(*p) for p in points)}"/>'
        for _, colour, points in lines
        if points
    ]
    names = [
        f'<text x="{_WIDTH - _MARGIN}" y="{_MARGIN - 24 + 14 * row}" fill="{colour}" text-anchor="end">{name}</text>'
        for row, (name, colour, points) in enumerate(lines)
        if points
    ]
    bottom = _HEIGHT - _MARGIN
    axes = [
        f'<path d="M{_MARGIN},{_MARGIN} V{bottom} H{_WIDTH - _MARGIN}" fill="none" stroke="#888"/>',
        f'<text x="{_MARGIN - 6}" y="{_MARGIN + 4}" text-anchor="end">{high:.3g}</text>',
        f'<text x="{_MARGIN - 6}" y="{bottom + 4}" text-anchor="end">{low:.3g}</text>',
        f'<text x="{_WIDTH - _MARGIN}" y="{bottom + 18}" text-anchor="end">step {last}</text>',
        f'<text x="{_MARGIN}" y="{_MARGIN - 14}">loss</text>',
    ]
    body = "\n".join([*axes, *drawn, *names])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        f'font-size="12" role="img" aria-label="Loss over the steps">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )
