"""The tokenizer that a model is trained with, where it is not the base model's own: a folder of its files.

Files are copied byte by byte, and only the values that were asked for are written into them, so that all else is as the
base model has it, whatever a library would write today.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechless.contract import FailureReason, Tokenizer
from speechless.data.render import turn_ends
from speechless.data.tokenizer import FILES, load_tokenizer
from speechless.errors import StageError

_CONFIG, _SPECIAL, _TEMPLATE = "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"


def prepare(model: Path, wanted: Tokenizer, folder: Path) -> Path | None:
    """Write the tokenizer that is wanted to `folder`, which is given back; None: it is the model's own.

    StageError(INVALID_SPEC) for a chat template that is no Jinja or shows no conversation, and for an end of text that
    is no token; StageError(MODEL_INVALID) where the model's tokenizer cannot take it.
    """
    if wanted == Tokenizer():
        return None
    _check(load_tokenizer(model, wanted.chat_template, wanted.eos_token), wanted)
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
    _prove(folder, wanted)
    return folder


def _check(tokenizer: Any, wanted: Tokenizer) -> None:
    """StageError(INVALID_SPEC) for a template that fits no conversation."""
    if wanted.chat_template is None:
        return
    try:
        turn_ends(tokenizer)
    except StageError as error:
        what = f"chat_template: {error.message}"
        raise StageError(FailureReason.INVALID_SPEC, what, error.hint) from error


def _change(file: Path, values: Mapping[str, str | None]) -> None:
    """Set values of a JSON file; None: remove it."""
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    found |= values
    kept = {name: value for name, value in found.items() if value is not None or name not in values}
    file.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _prove(folder: Path, wanted: Tokenizer) -> None:
    """Read it back: a tokenizer of another kind may keep its settings elsewhere."""
    made = load_tokenizer(folder)
    for name, value in wanted.model_dump(exclude_none=True).items():
        found = getattr(made, name)
        # Jinja takes no notice of a last line's end, and Transformers removes it.
        if found.removesuffix("\n") != value.removesuffix("\n"):
            what = f"{name}: the model's tokenizer does not keep it in its files ({found!r:.100})"
            raise StageError(FailureReason.MODEL_INVALID, what, f"set {name} in the base model's own files")
