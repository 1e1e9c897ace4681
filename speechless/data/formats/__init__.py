"""The table of row formats: a name, the keys that tell it, and the function that makes a typed example of a row.

A new format is a function in one of the modules here and a row of `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from speechless.contract import DatasetFormat
from speechless.data.examples import Example
from speechless.data.formats import answers, pairs, preferences, turns
from speechless.data.formats.values import Row, RowError, kind_of

MEANING = frozenset(
    {
        *("system", "system_prompt", "tools", "functions", "function_call", "tool_calls", "history"),
        *(
            "weight",
            "train",
            "mask",
            "loss",
            "loss_mask",
            "images",
            "image",
            "videos",
            "video",
            "audios",
            "audio",
        ),
        *("rejected", "chosen", "kto_tag", "prompt_type", "skip_prompt_formatting"),
    }
)
"""Keys that change what is learned of a row. A format honours them or refuses them; it never drops them."""


@dataclass(frozen=True)
class RowFormat:
    """A shape of rows."""

    name: DatasetFormat
    text: str
    """How it looks, in one line."""
    needs: frozenset[str]
    """Keys that a row of this format has: the first format in the table of which a row has all keys is taken."""
    read: Callable[[Row], Example]
    """RowError says what is wrong with a row."""
    honours: frozenset[str] = field(default_factory=frozenset)
    """Of MEANING: the keys that `read` heeds."""
    flags: tuple[str, ...] = ()
    """Values of `--dataset_format`."""
    by_name_alone: bool = False
    """Whether it looks like another one, so that keys do not tell it."""
    one_of: tuple[str, ...] = ()
    """Of these keys, a row has at least one."""

    def fits(self, row: Row) -> bool:
        """Whether a row has the keys."""
        return self.needs <= row.keys() and (not self.one_of or any(key in row for key in self.one_of))


_TURNS = frozenset({"system", "system_prompt", "tools", "functions"})
_TALKS = _TURNS | {"prompt_type"}
_PAIRS = frozenset({"system", "history", "prompt_type"})
FORMATS: tuple[RowFormat, ...] = (
    RowFormat(
        DatasetFormat.PREFERENCE,
        '`{"prompt", "chosen", "rejected"}`, texts or lists of messages; `prompt` may be missing from lists, '
        "and `system_prompt` may stand beside",
        frozenset({"chosen", "rejected"}),
        preferences.preference,
        honours=frozenset({"chosen", "rejected", "system", "system_prompt"}),
        flags=("preference",),
    ),
    RowFormat(
        DatasetFormat.UNPAIRED_PREFERENCE,
        '`{"prompt", "completion", "label"}`, texts or lists of messages, `label` true or false; also `messages` or '
        "`conversations` with a label, and `kto_tag` for `label`",
        frozenset({"prompt", "completion"}),
        answers.unpaired,
        honours=_TURNS | {"kto_tag"},
        flags=("unpaired_preference", "kto"),
        one_of=("label", "kto_tag"),
    ),
    RowFormat(
        DatasetFormat.MESSAGES,
        '`{"messages": [{"role", "content"}, ...]}`, with `tools` and `tool_calls` if at all',
        frozenset({"messages"}),
        turns.messages,
        honours=_TALKS,
        flags=("messages", "multi-rounds"),
    ),
    RowFormat(
        DatasetFormat.CONVERSATIONS,
        '`{"conversations": [{"from", "value"}, ...]}`, also ShareGPT\'s',
        frozenset({"conversations"}),
        turns.conversations,
        honours=_TALKS,
        flags=("conversations", "dialog", "sharegpt"),
    ),
    RowFormat(
        DatasetFormat.ALPACA,
        '`{"instruction", "input", "output"}`; `input`, `system` and `history` may be missing',
        frozenset({"instruction", "output"}),
        pairs.alpaca,
        honours=_PAIRS,
        flags=("alpaca", "alpaca-clean"),
    ),
    RowFormat(
        DatasetFormat.INSTRUCTION,
        '`{"instruction", "input", "response"}`; `input`, `system` and `history` may be missing',
        frozenset({"instruction", "response"}),
        pairs.instruction_response,
        honours=_PAIRS | {"skip_prompt_formatting"},
        flags=("input-output", "instruction-input-response", "airoboros", "mistral", "llama2"),
    ),
    RowFormat(
        DatasetFormat.PROMPT_COMPLETION,
        '`{"prompt", "completion"}`, texts or lists of messages: the completion is learned',
        frozenset({"prompt", "completion"}),
        answers.prompt_completion,
        honours=_TURNS,
        flags=("prompt_completion", "self-instruct"),
    ),
    RowFormat(
        DatasetFormat.LIGHT_LLM,
        '`{"input", "output"}`, texts as they stand: the output is learned',
        frozenset({"input", "output"}),
        answers.input_output,
        flags=("lightllm",),
    ),
    RowFormat(
        DatasetFormat.PROMPT,
        '`{"prompt"}` and what an answer is judged by: one of ' + ", ".join(preferences.TARGETS),
        frozenset({"prompt"}),
        preferences.prompt_only,
        flags=("prompt", "verl"),
        one_of=preferences.TARGETS,
    ),
    RowFormat(
        DatasetFormat.TEXT,
        '`{"text"}`: all of it is learned',
        frozenset({"text"}),
        pairs.text,
        flags=("text",),
    ),
    RowFormat(
        DatasetFormat.CHIP2,
        '`{"text": "<human>: ... <bot>: ..."}`',
        frozenset({"text"}),
        pairs.chip2,
        flags=("chip2",),
        by_name_alone=True,
    ),
    RowFormat(
        DatasetFormat.OASST1,
        '`{"text": "### Human: ...### Assistant: ..."}`',
        frozenset({"text"}),
        pairs.oasst1,
        flags=("oasst1",),
        by_name_alone=True,
    ),
    RowFormat(
        DatasetFormat.HH_RLHF,
        '`{"chosen": "Human: ... Assistant: ..."}`: the better conversation alone is learned',
        frozenset({"chosen"}),
        pairs.hh_rlhf,
        honours=frozenset({"chosen", "rejected"}),
        flags=("hh-rlhf",),
        by_name_alone=True,
    ),
)
BY_NAME = {row.name: row for row in FORMATS}
FLAGS = {"auto": DatasetFormat.AUTO} | {flag: row.name for row in FORMATS for flag in row.flags}
"""Values of `--dataset_format`."""


def detect(value: object) -> RowFormat | None:
    """The format that a row's keys tell; None if they tell none."""
    if not isinstance(value, dict):
        return None
    return next((row for row in FORMATS if not row.by_name_alone and row.fits(value)), None)


def read(value: object, name: DatasetFormat) -> Example:
    """The example that a row of a format (not Auto) becomes; RowError if it is none."""
    if not isinstance(value, dict):
        raise RowError(f"a row is an object, this is {kind_of(value)}")
    row = BY_NAME[name]
    ignored = [key for key in value if key in MEANING - row.honours and _says(value[key])]
    if ignored:
        raise RowError(f"'{ignored[0]}' changes what is learned, and has no meaning in rows of format {name}")
    return row.read(value)


def _says(value: Any) -> bool:
    """Whether a value says anything: null, empty and a weight of one do not."""
    return value is not None and value not in ("", 1, [], {})


def keys_of(value: object) -> str:
    """The keys of a row that is of no format, for a message."""
    keys = ", ".join(sorted(map(str, value))[:8]) if isinstance(value, dict) else "no object"
    return keys or "no keys"


__all__ = ["BY_NAME", "FLAGS", "FORMATS", "MEANING", "RowError", "RowFormat", "detect", "keys_of", "read"]
