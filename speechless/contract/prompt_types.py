"""The forms of conversations that have a name: what a row's key `prompt_type` and a setting may say.

A new form is a row here and a Jinja file of its name in `speechless/data/prompt_types/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class PromptType(StrEnum):
    """How a conversation becomes text."""

    CHAT_TEMPLATE = "chat_template"
    ALPACA = "alpaca"
    CHATLM = "chatlm"
    LLAMA2 = "llama2"
    LLAMA3 = "llama3"
    MINICPM = "minicpm"
    QWEN2_5 = "qwen2.5"
    TOOL_LLAMA = "toolllama"
    RAW = "raw"


@dataclass(frozen=True)
class Form:
    """A prompt type."""

    name: PromptType
    text: str
    """How it looks, in one line of Markdown."""
    aliases: tuple[str, ...] = ()
    """Other names that a row or a command line may use."""


FORMS: Mapping[PromptType, Form] = {
    form.name: form
    for form in (
        Form(PromptType.CHAT_TEMPLATE, "the model's own chat template, also for rows that name another type"),
        Form(PromptType.ALPACA, "`### Instruction:` and `### Response:`, after a sentence that a system text replaces"),
        Form(
            PromptType.CHATLM,
            "ChatML, with the system text `You are a helpful assistant.` where there is none",
            ("chatml",),
        ),
        Form(PromptType.LLAMA2, "Llama 2: `[INST]` and `<<SYS>>`"),
        Form(PromptType.LLAMA3, "Llama 3: a header with the role, and `eot_id` behind each message"),
        Form(PromptType.MINICPM, "MiniCPM: `<用户>` and `<AI>`"),
        Form(PromptType.QWEN2_5, "Qwen 2.5: ChatML with tools, their calls and their answers"),
        Form(
            PromptType.TOOL_LLAMA,
            "ToolLLaMA: `System:`, `User:`, `Function:`, `Assistant:`",
            ("tool-llama-single-round", "tool-llama-multi-rounds"),
        ),
        Form(PromptType.RAW, "the words alone, one message after the other"),
    )
}  # fmt: skip
PROMPT_TYPES = {word: form.name for form in FORMS.values() for word in (form.name.value, *form.aliases)}
"""By every word that may name it."""
