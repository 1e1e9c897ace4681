"""The chat templates of the prompt types that have a name (`speechless.contract.prompt_types`), a Jinja file each.

A template begins the text with the tokenizer's token for that, if there is one, and ends each answer with a token that
a model can stop at. What a form has no place for (tools, say) it refuses: nothing of a row is left out without a word.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from speechless.contract import PromptType

_HERE = Path(__file__).parent


_BEGIN = "{{- bos_token }}"


@cache
def source(name: PromptType, *, begins: bool = True) -> str | None:
    """The Jinja of a form; None: it is the model's own.

    `begins`: whether the tokenizer has a token that begins a text. Jinja shows one that is missing as nothing;
    llama.cpp takes the token of some number for it, so it has to be out of the template.
    """
    if name is PromptType.CHAT_TEMPLATE:
        return None
    text = (_HERE / f"{name.value}.jinja").read_text(encoding="utf-8")
    return text if begins else text.replace(_BEGIN, "")
