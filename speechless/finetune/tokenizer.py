"""The tokenizer that a model is trained with, where it is not the base model's own: a folder of its files.

Files are copied byte by byte, and only the values that were asked for are written into them, so that all else is as the
base model has it, whatever a library would write today.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from speechless.contract import FailureReason, PromptType, Tokenizer
from speechless.data import prompt_types
from speechless.data.render import turn_ends
from speechless.data.tokenizer import FILES, load_tokenizer
from speechless.errors import StageError

log = logging.getLogger(__name__)

_CONFIG, _SPECIAL, _TEMPLATE = "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"
_FAST, _ADDED = "tokenizer.json", "added_tokens.json"


REASONING = ("<think>", "</think>")
"""As Qwen3 and DeepSeek-R1 have them: tokens, but no special ones, because who reads the answer has to see them."""


class Words(NamedTuple):
    """A tokenizer, and whether the rows' own prompt types count beside it."""

    settings: Tokenizer
    by_row: bool


def settled(wanted: Tokenizer, rows: Collection[PromptType | None]) -> Words:
    """What is wanted, with what the rows name (`Survey.prompt_types`): one type of all rows becomes the model's own.

    So a model is used by the template that it was trained with. Of several, each row keeps its own, and the model the
    template that it had.
    """
    named = wanted.prompt_type
    if named is None and wanted.chat_template is None:
        rows = {None if one is PromptType.CHAT_TEMPLATE else one for one in rows}
        if len(rows) > 1:
            words = ", ".join(sorted(one.value if one else "none" for one in rows))
            log.warning(
                "the rows name several prompt types (%s): each is learned in its own, and the model keeps the chat "
                "template that it has; --prompt_type (tokenizer.promptType) takes one for all",
                words,
            )
            return Words(wanted, by_row=True)
        (named,) = rows or (None,)
        if named is not None:
            log.info("all rows name the prompt type %s: the result's chat template is that one", named)
    named = None if named is PromptType.CHAT_TEMPLATE else named
    return Words(wanted.model_copy(update={"prompt_type": named}), by_row=False)


def prepare(model: Path, wanted: Tokenizer, folder: Path) -> Path | None:
    """Write the tokenizer that is wanted (`settled`) to `folder`, which is given back; None: it is the model's own.

    StageError(INVALID_SPEC) for a chat template that is no Jinja or shows no conversation, and for an end of text that
    is no token; StageError(MODEL_INVALID) where the model's tokenizer cannot take it.
    """
    if wanted == Tokenizer():
        return None
    if wanted.prompt_type:
        begins = load_tokenizer(model).bos_token is not None
        template = prompt_types.source(wanted.prompt_type, begins=begins)
        wanted = wanted.model_copy(update={"prompt_type": None, "chat_template": template})
    tokenizer = load_tokenizer(model, wanted.chat_template, wanted.eos_token)
    _check(tokenizer, wanted)
    known = tokenizer.get_vocab()
    new = [token for token in REASONING if wanted.add_reasoning_tokens and token not in known]
    if wanted.add_reasoning_tokens and not new:
        log.info("%s: %s are tokens already", model.name, " and ".join(REASONING))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in sorted(path for pattern in (*FILES, "config.json") for path in model.glob(pattern)):
        if path.is_file():
            shutil.copyfile(path, folder / path.name)
    if wanted.eos_token is not None:
        _change(folder / _CONFIG, {"eos_token": wanted.eos_token})
        if (folder / _SPECIAL).is_file():
            _change(folder / _SPECIAL, {"eos_token": wanted.eos_token})
    if wanted.chat_template is not None:
        # One template for all conversations: those of other names would be taken where there are tools.
        for path in folder.glob("chat_template*"):
            path.unlink()
        _change(folder / _CONFIG, {"chat_template": None})
        (folder / _TEMPLATE).write_text(wanted.chat_template, encoding="utf-8")
    if new:
        _add(folder, tokenizer, new)
    _prove(folder, wanted)
    return folder


@lru_cache
def added(model: Path, tokenizer: Path) -> dict[int, tuple[int, ...]]:
    """Tokens that a tokenizer has beside the model's own: id to the model's tokens of the same text."""
    own, made = load_tokenizer(model), load_tokenizer(tokenizer)
    known = own.get_vocab()
    return {
        number: tuple(own(token, add_special_tokens=False)["input_ids"])
        for token, number in sorted(made.get_vocab().items(), key=lambda one: one[1])
        if token not in known
    }


def _add(folder: Path, tokenizer: Any, new: list[str]) -> None:
    """Write tokens into a tokenizer's files, with the numbers that it gives them."""
    from transformers import AddedToken

    file = folder / _FAST
    if not file.is_file():
        what = f"addReasoningTokens: the model's tokenizer has no {_FAST}, which new tokens are written into"
        raise StageError(
            FailureReason.MODEL_INVALID, what, f"save it once with Transformers, which makes {_FAST}"
        )
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in new])
    numbers = {token: tokenizer.convert_tokens_to_ids(token) for token in new}
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    found = json.loads(file.read_text(encoding="utf-8"))
    found["added_tokens"] = [
        *(found.get("added_tokens") or []),
        *({"id": number, "content": token, **plain} for token, number in numbers.items()),
    ]
    file.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    config = (
        json.loads((folder / _CONFIG).read_text(encoding="utf-8")) if (folder / _CONFIG).is_file() else {}
    )
    if isinstance(known := config.get("added_tokens_decoder"), dict):
        more = {str(number): {"content": token, **plain} for token, number in numbers.items()}
        _change(folder / _CONFIG, {"added_tokens_decoder": known | more})
    if (folder / _ADDED).is_file():
        _change(folder / _ADDED, numbers)
    made = load_tokenizer(folder)
    for token, number in numbers.items():
        if made(token, add_special_tokens=False)["input_ids"] != [number]:
            what = f"addReasoningTokens: the model's tokenizer does not take {token} from its files"
            raise StageError(FailureReason.MODEL_INVALID, what, "add the tokens to the base model first")


def _check(tokenizer: Any, wanted: Tokenizer) -> None:
    """StageError(INVALID_SPEC) for a template that fits no conversation."""
    if wanted.chat_template is None:
        return
    try:
        turn_ends(tokenizer)
    except StageError as error:
        what = f"chat_template: {error.message}"
        raise StageError(FailureReason.INVALID_SPEC, what, error.hint) from error


def _change(file: Path, values: Mapping[str, Any]) -> None:
    """Set values of a JSON file; None: remove it."""
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    found |= values
    kept = {name: value for name, value in found.items() if value is not None or name not in values}
    file.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _prove(folder: Path, wanted: Tokenizer) -> None:
    """Read it back: a tokenizer of another kind may keep its settings elsewhere."""
    made = load_tokenizer(folder)
    for name in ("chat_template", "eos_token"):
        value = getattr(wanted, name)
        if value is None:
            continue
        found = getattr(made, name)
        # Jinja takes no notice of a last line's end, and Transformers removes it.
        if found.removesuffix("\n") != value.removesuffix("\n"):
            what = f"{name}: the model's tokenizer does not keep it in its files ({found!r:.100})"
            raise StageError(FailureReason.MODEL_INVALID, what, f"set {name} in the base model's own files")
