"""The words of a merged model: how many, whose tokenizer, and whether input and output share their embedding."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.finetune.adapter_folder import AdapterFolder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Words:
    """What was settled."""

    tokenizer: Any | None
    """The merged model's; None: neither folder has one."""
    folder: Path | None
    """Where its files are; None: the base."""
    new: list[int]
    """Tokens that the adapter added or trained one by one: the ones to look at."""


def settle(model: Any, base: Path, adapter: AdapterFolder) -> Words:
    """Give the base model as many embeddings as the adapter was trained with, and find the tokenizer.

    The adapter's tokenizer counts where it has other tokens, another chat template or another end than the base's: it
    was trained with that one. Otherwise the base's files are kept, byte by byte.

    StageError(MODEL_INVALID) if there are tokens whose embeddings the adapter does not bring.
    """
    tokenizer, folder = _tokenizer(model, base, adapter)
    layers = _ends(model)
    had = model.get_input_embeddings().num_embeddings
    rows = next((count for name in layers if (count := adapter.rows(name)) is not None), had)
    trained = adapter.trained_tokens()
    if rows == had and folder is not None and len(tokenizer) > had:
        rows = len(tokenizer)
    if rows != had:
        # Tied, the input's weight is the output's, too: unless the adapter trained a copy of it.
        copied = layers[0].rpartition(".")[2] in (adapter.config.get("modules_to_save") or [])
        needed = layers if copied or tied_weight(model) is None else layers[:1]
        lost = [name for name in needed if not adapter.holds(name)]
        if rows > had and lost and not set(range(had, rows)) <= set(trained):
            what = f"{adapter.path.name}: its vocabulary has {rows} tokens, the base's {had}, and it does not bring"
            what += f" the new tokens' embeddings ({lost[0]})"
            hint = "train it with modules_to_save: [embed_tokens, lm_head], or name the base with the added tokens"
            raise StageError(FailureReason.MODEL_INVALID, what, hint)
        log.info("the vocabulary has %d tokens now, as the adapter's; the base's has %d", rows, had)
        model.resize_token_embeddings(rows, mean_resizing=False)
    if tokenizer is not None and len(tokenizer) > rows:
        where = (folder or base).name
        what = f"{where}: the tokenizer has {len(tokenizer)} tokens, more than the model's embedding ({rows})"
        raise StageError(
            FailureReason.MODEL_INVALID, what, "bring the tokenizer that the model was trained with"
        )
    return Words(tokenizer, folder, [*range(had, rows), *(token for token in trained if token < had)])


def _ends(model: Any) -> list[str]:
    """The paths of the layers that have a row a token: the input's, then the output's."""
    paths = {id(module): name for name, module in model.named_modules()}
    layers = (model.get_input_embeddings(), model.get_output_embeddings())
    return [paths[id(layer)] for layer in layers if layer is not None]


def _tokenizer(model: Any, base: Path, adapter: AdapterFolder) -> tuple[Any | None, Path | None]:
    own, theirs = _load(base, model.config), _load(adapter.path, model.config)
    if isinstance(theirs, StageError):
        if not isinstance(own, StageError):
            raise theirs
        theirs = None
    if isinstance(own, StageError):
        # It needs code of its own, say. Its files are kept, and the probe does without it.
        log.warning("%s", own.message)
        own = None
    if theirs is None or (own is not None and _speech(own) == _speech(theirs)):
        return own, None
    log.info("the tokenizer is the adapter's: it differs from the base's")
    return theirs, adapter.path


def _load(folder: Path, config: Any) -> Any | StageError | None:
    """A folder's tokenizer, what is wrong with it, or None if there is none."""
    from transformers import AutoTokenizer

    if not any(
        (folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")
    ):
        return None
    try:
        return AutoTokenizer.from_pretrained(
            folder, config=config, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        first = str(error).strip().partition("\n")[0]
        what = f"{folder.name}: the tokenizer cannot be loaded: {first[:300]}"
        return StageError(FailureReason.MODEL_INVALID, what, "check the tokenizer's files")


def _speech(tokenizer: Any) -> tuple[Any, ...]:
    """What a tokenizer does to a conversation."""
    return tokenizer.get_vocab(), tokenizer.chat_template, tokenizer.eos_token, tokenizer.bos_token


def tied_weight(model: Any) -> torch.nn.Parameter | None:
    """The weight that input and output share; None: they do not."""
    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    shared = outputs is not None and inputs.weight is outputs.weight
    return inputs.weight if shared else None


def untie(adapted: Any, tied: torch.nn.Parameter | None) -> None:
    """Give each layer that shares the embedding a copy of its own, if the adapter wraps one of them.

    PEFT adds to a layer's weight in place: what was learned for one side would be added to the other, too (both
    sides' to both, where both are adapted).
    """
    if tied is None:
        return
    holders = [
        (name, module) for name, module in adapted.named_modules() if module._parameters.get("weight") is tied
    ]
    if any({"base_layer", "original_module"} & set(name.split(".")) for name, _ in holders):
        for _, module in holders[1:]:
            module.weight = torch.nn.Parameter(tied.detach().clone(), requires_grad=False)


def tie_again(model: Any, tied: torch.nn.Parameter | None) -> None:
    """Where the base's were tied: share one weight again if both sides became the same, else say that they differ."""
    if tied is None:
        return
    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    same = inputs.weight is outputs.weight or torch.equal(inputs.weight, outputs.weight)
    if same:
        outputs.weight = inputs.weight
    else:
        log.info("input and output embeddings differ now; they are saved both (tie_word_embeddings: false)")
    for config in (model.config, model.config.get_text_config()):
        if hasattr(config, "tie_word_embeddings"):
            config.tie_word_embeddings = same
