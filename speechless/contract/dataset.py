"""The rows that a model is trained on: where they are, and how one looks."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from speechless.contract.stages import DataSource


class DatasetFormat(StrEnum):
    """How a row of the training data looks."""

    AUTO = "Auto"
    """By the first row's keys."""
    MESSAGES = "Messages"
    """`{"messages": [{"role", "content"}, ...]}`, with `tools` and `tool_calls` if at all"""
    CONVERSATIONS = "Conversations"
    """`{"conversations": [{"from", "value"}, ...]}`, also ShareGPT's"""
    ALPACA = "Alpaca"
    """`{"instruction", "input", "output"}`"""
    INSTRUCTION = "Instruction"
    """`{"instruction", "input", "response"}`"""
    PROMPT_COMPLETION = "PromptCompletion"
    """`{"prompt": str, "completion": str}`"""
    LIGHT_LLM = "LightLLM"
    """`{"input": str, "output": str}`, as LightLLM had them"""
    TEXT = "Text"
    """`{"text": str}`"""
    PREFERENCE = "Preference"
    """`{"prompt", "chosen", "rejected"}`"""
    UNPAIRED_PREFERENCE = "UnpairedPreference"
    """`{"prompt", "completion", "label"}`: an answer that is good (true) or bad (false)"""
    PROMPT = "Prompt"
    """`{"prompt"}` and what an answer is judged by"""
    CHIP2 = "Chip2"
    """`{"text": "<human>: ... <bot>: ..."}`"""
    OASST1 = "Oasst1"
    """`{"text": "### Human: ...### Assistant: ..."}`"""
    HH_RLHF = "HhRlhf"
    """`{"chosen": "Human: ... Assistant: ..."}`: the better conversation alone"""


class BadRows(StrEnum):
    """What becomes of a row that does not fit its format."""

    STOP = "Stop"
    """Nothing is trained; the error names the first and counts the others."""
    SKIP = "Skip"
    """It is left out and counted; the first are named in the log."""


class DatasetSource(DataSource):
    """The rows to train on: a file (JSON Lines, JSON, CSV, TSV or Parquet), or a folder of them."""

    format: DatasetFormat = DatasetFormat.AUTO
    """How a row looks. Auto: told by the first row's keys. Messages: `{"messages": [{"role", "content"}]}`.
    Conversations: `{"conversations": [{"from", "value"}]}`. Alpaca: `{"instruction", "input", "output"}`. Instruction:
    the same with `response`. PromptCompletion: `{"prompt", "completion"}`. Text: `{"text"}`. Chip2, Oasst1, HhRlhf:
    texts with marks. Preference is for the objectives that compare answers, UnpairedPreference
    for KTO; Prompt is for objectives that are not offered yet."""
    bad_rows: BadRows = BadRows.STOP
    """What becomes of a row that does not fit its format. Stop: nothing is trained, and the error names the first.
    Skip: it is left out, and counted."""
    eval_fraction: Annotated[float, Field(ge=0, lt=1)] = 0
    """The part of the rows that is held out to measure the loss on; of each `category`, where rows have one."""
    max_samples: Annotated[int, Field(ge=1)] | None = None
    """Rows to use, after shuffling; without it, all."""
