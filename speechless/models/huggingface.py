"""A Hugging Face folder: config.json, generation_config.json, the tokenizer, the model card, headers of the weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechless.contract import BaseModelInfo, ModelInfo, QuantizationInfo
from speechless.contract.modelinfo import judges
from speechless.models.quantization import UNKNOWN, parameters_of, quantization_of, quantized
from speechless.models.safetensors import TORCH, Tensor, read_header, weights_of
from speechless.models.small import first, ids, read_card, read_json, text, whole, word

CONTEXT = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_seq_len",
    "seq_length",
    "max_sequence_length",
)
"""What configurations call the tokens that a model was trained for; the first that is there counts."""
PARTS = ("text_config", "llm_config", "language_config", "thinker_config")
"""Where a model of several kinds of data has its language model's configuration."""
_TABLES = ("wpe.weight", "embed_positions.weight", "positions_embed.weight", "position_embeddings.weight")
"""Ends of the names that Transformers' models of text give a table of positions."""
_NOT_TEXT = ("vision", "visual", "image", "audio", "speech")
"""In the names of the parts that read something else: their positions say nothing of a text's."""
_WITH_TABLES = ("gpt2", "gpt_neo", "gpt_bigcode", "openai-gpt", "opt", "biogpt")
"""Types of Transformers' models that write texts and have one."""
TOKENIZERS = ("tokenizer_config.json", "tokenizer.json", "tokenizer.model")


def read(folder: Path) -> ModelInfo:
    """What a model's folder says. StageError(MODEL_INVALID) for a file that is not what its name says."""
    config = read_json(folder / "config.json")
    language: Mapping[str, Any] = next(
        (config[name] for name in PARTS if isinstance(config.get(name), dict)), {}
    )
    whole_config = {**config, **{name: value for name, value in language.items() if value is not None}}
    tensors = [tensor for file in weights_of(folder) for tensor in read_header(file)]
    quantization = quantization_of(folder, config)
    if quantization is None and quantized(tensors):
        quantization = QuantizationInfo(method=UNKNOWN)
    named = config.get("architectures")
    generation = read_json(folder / "generation_config.json")
    return ModelInfo(
        architecture=word(named[0]) if isinstance(named, list) and named else None,
        parameters=parameters_of(tensors, quantization),
        dtype=dtype_of(tensors, quantization) or _named(whole_config),
        context_length=context_of(whole_config),
        vocabulary_size=whole(whole_config.get("vocab_size")),
        quantization=quantization,
        chat_template=chat_template(folder),
        eos_token_ids=ids(generation.get("eos_token_id")) or ids(whole_config.get("eos_token_id")),
        labels=labels_of(config),
        **from_card(folder),
    )


def context_of(config: Mapping[str, Any]) -> int | None:
    """The tokens of a row that a model reads, with its positions scaled as they are (Transformers' RoPE scaling).

    >>> context_of({"max_position_embeddings": 32768}), context_of({"max_position_embeddings": 2048, "rope_scaling":
    ...     {"rope_type": "dynamic", "factor": 2.0}})
    (32768, 4096)
    >>> context_of({"max_position_embeddings": 32768, "rope_parameters": {
    ...     "rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 32768}})
    131072
    """
    said = whole(first(config, CONTEXT))
    scaling = first(config, ("rope_parameters", "rope_scaling"))
    if said is None or not isinstance(scaling, dict):
        return said
    # With these two, the configuration may have the positions that the factor counts from.
    kind = scaling.get("rope_type", scaling.get("type"))
    base = {"dynamic": said, "yarn": whole(scaling.get("original_max_position_embeddings")) or said}.get(kind)
    factor = scaling.get("factor")
    return max(said, int(base * factor)) if base and isinstance(factor, int | float) else said


def positions_are_a_table(folder: Path) -> bool:
    """Whether a model has learned a vector for each position, as GPT-2 and OPT, and so has none for further ones.

    Where positions are computed (RoPE, ALiBi), rows may be longer than those that it was trained for. A folder without
    weights, for new ones, has only its type to tell.
    """
    files = weights_of(folder)
    if not files:
        return read_json(folder / "config.json").get("model_type") in _WITH_TABLES
    names = (tensor.name for file in files for tensor in read_header(file))
    return any(name.endswith(_TABLES) and not any(part in name for part in _NOT_TEXT) for name in names)


def labels_of(config: Mapping[str, Any]) -> int | None:
    """Numbers that a model gives a text, by its config.json; None: it writes texts.

    Transformers leaves out what is its default: two classes.
    """
    named = config.get("architectures")
    if not isinstance(named, list) or not named or not isinstance(named[0], str) or not judges(named[0]):
        return None
    classes = config.get("id2label")
    return (len(classes) or None) if isinstance(classes, Mapping) else whole(config.get("num_labels")) or 2


def dtype_of(tensors: Sequence[Tensor], quantization: QuantizationInfo | None) -> str | None:
    """The type of most weights, as torch calls it; of quantized ones none, because they do not compute in it."""
    if quantization:
        return None
    counted: Counter[str] = Counter()
    for tensor in tensors:
        counted[tensor.type] += tensor.elements
    return TORCH.get(counted.most_common(1)[0][0]) if counted else None


def _named(config: Mapping[str, Any]) -> str | None:
    """`dtype` of a configuration; before Transformers 5 it was `torch_dtype`, with or without the module's name."""
    told = first(config, ("dtype", "torch_dtype"))
    return word(told.removeprefix("torch.")) if isinstance(told, str) and told != "auto" else None


def chat_template(folder: Path) -> bool | None:
    """Whether the tokenizer has a template for chats; None: there is no tokenizer."""
    if (folder / "chat_template.jinja").is_file() or read_json(folder / "chat_template.json").get(
        "chat_template"
    ):
        return True
    if not any((folder / name).is_file() for name in TOKENIZERS):
        return None
    return bool(read_json(folder / "tokenizer_config.json").get("chat_template"))


def from_card(folder: Path) -> dict[str, Any]:
    """Licence and base model by the folder's model card; `license: other` has its name beside it."""
    card = read_card(folder / "README.md")
    licenses = card.get("license", [])
    if licenses[:1] == ["other"]:
        licenses = card.get("license_name", licenses)
    base = text(card.get("base_model", [None])[0])
    return {
        "license": text(" AND ".join(licenses)),
        "base_model": BaseModelInfo(name=base) if base else None,
    }
