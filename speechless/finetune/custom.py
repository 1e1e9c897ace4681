"""Losses that a command line asks for: a trainer class of the user's own, and tags that weigh more.

The class is a subclass of `transformers.Trainer`, or of TRL's trainer of the objective. It stands before the
objective's own trainer, so that what it defines (`compute_loss`, say) takes the place of that, and all else stays.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.finetune.job import Extras

_IGNORED = -100


def before(extras: Extras, own: type) -> type:
    """The trainer class of an objective (`own`), with that of the user's file before it if there is one.

    StageError(INVALID_SPEC) where the file cannot be run, or what it has by that name is no trainer that fits.
    """
    if extras.trainer_file is None:
        return own
    from transformers import Trainer

    where = f"--custom_training_module_file {extras.trainer_file}"
    spec = importlib.util.spec_from_file_location("speechless_custom_trainer", extras.trainer_file)
    if spec is None or spec.loader is None:
        raise StageError(
            FailureReason.INVALID_SPEC, f"{where}: no Python file", "name a file that ends with .py"
        )
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        what = f"{where}: it cannot be run: {type(error).__name__}: {error}"
        raise StageError(FailureReason.INVALID_SPEC, what, "correct the file") from error
    found = getattr(module, extras.trainer_name, None)
    hint = "name a subclass of transformers.Trainer, or of TRL's trainer of the objective"
    if not (isinstance(found, type) and issubclass(found, Trainer)):
        what = f"--custom_trainer_name {extras.trainer_name}: {extras.trainer_file.name} has no trainer of this name"
        raise StageError(FailureReason.INVALID_SPEC, what, hint)
    if issubclass(own, found):
        return own
    try:
        return type(found.__name__, (found, own), {})
    except TypeError as error:
        what = f"--custom_trainer_name {extras.trainer_name}: it cannot stand before {own.__name__}"
        raise StageError(FailureReason.INVALID_SPEC, what, hint) from error


class Tags:
    """The weight of each token that is learned: more for those that a tag's text touches.

    A token's text is found by decoding it alone, so a tag counts however the tokenizer cuts it.
    """

    def __init__(self, extras: Extras, tokenizer: Any) -> None:
        """Take the tags and their weights."""
        self._extras, self._tokenizer = extras, tokenizer
        self._texts: dict[int, str] = {}

    def of(self, labels: list[int]) -> list[float]:
        """Weights of a row's labels; of those that are not learned 0."""
        text, spans = "", []
        for label in labels:
            begin = len(text)
            text += self._text(label)
            spans.append((begin, len(text)))
        weights = [0.0 if label == _IGNORED else self._extras.allowed_token_weight for label in labels]
        for tag in self._extras.fixed_tags:
            place = text.find(tag)
            while place >= 0:
                for number, (begin, end) in enumerate(spans):
                    if begin < place + len(tag) and end > place and labels[number] != _IGNORED:
                        weights[number] = self._extras.fixed_tag_weight
                place = text.find(tag, place + len(tag))
        return weights

    def check(self, rows: Any) -> None:
        """StageError(DATASET_INVALID) for a tag that no row teaches: its weight would have no effect."""
        missing = set(self._extras.fixed_tags)
        for row in rows:
            text = "".join(map(self._text, row["labels"]))
            missing = {tag for tag in missing if tag not in text}
            if not missing:
                return
        what = f"--fixed_tags: no row has {sorted(missing)[0]!r} in what is learned"
        raise StageError(FailureReason.DATASET_INVALID, what, "correct the tag, or leave it out")

    def _text(self, label: int) -> str:
        if label == _IGNORED:
            return "\0"  # in no tag
        if label not in self._texts:
            self._texts[label] = self._tokenizer.decode([label])
        return self._texts[label]


def weighted(own: type, tags: Tags) -> type:
    """A trainer class whose loss is the cross-entropy of each token times its weight, over the number of tokens.

    With every weight 1 it is the loss that it was.
    """
    import torch

    class Weighted(own):  # type: ignore[misc,valid-type]
        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            labels = inputs["labels"]
            made = [tags.of(row) for row in labels.tolist()]
            weights = torch.tensor(made, device=labels.device)[:, 1:]
            given = {name: value for name, value in inputs.items() if name != "labels"}
            outputs = model(**given, use_cache=False)
            logits, target = outputs.logits[:, :-1].float(), labels[:, 1:]
            losses = torch.nn.functional.cross_entropy(
                logits.reshape(-1, logits.shape[-1]),
                target.reshape(-1),
                ignore_index=_IGNORED,
                reduction="none",
            ).view_as(target)
            count = (target != _IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
            loss = (losses * weights).sum() / count
            return (loss, outputs) if return_outputs else loss

    return Weighted


def trainer_file(file: Path, name: str) -> dict[str, Any]:
    """What `Extras` has of a user's trainer; StageError(INVALID_SPEC) if there is no such file."""
    import hashlib

    try:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        what = f"--custom_training_module_file {file}: {error.strerror}"
        raise StageError(FailureReason.INVALID_SPEC, what, "name a Python file") from None
    return {"trainer_file": file.absolute(), "trainer_name": name, "trainer_sha256": digest}
