"""Reading a model folder whole, and writing one that keeps what the base model came with."""

import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from speechless.contract import FailureReason, Format, Qlora
from speechless.contract.modelinfo import Head, ModelInfo
from speechless.contract.needs import Need
from speechless.cpus import usable_memory
from speechless.data.tokenizer import FILES as TOKENIZER
from speechless.errors import StageError
from speechless.failures import is_out_of_memory
from speechless.finetune import bits, heads, rope
from speechless.finetune.heads import HEADS, OUTPUTS, HeadKind
from speechless.finetune.job import Extras
from speechless.models import check, weights
from speechless.models.huggingface import labels_of
from speechless.models.safetensors import BITS, Tensor
from speechless.models.small import read_json
from speechless.store import hub

log = logging.getLogger(__name__)

# Everything that is neither weights nor documentation: copied byte by byte, so that the tokenizer, the chat template
# and the generation settings are the base model's own whatever a library would write today.
CONFIG, GENERATION = "config.json", "generation_config.json"
KEPT = (CONFIG, GENERATION, *TOKENIZER)

SHARD = Extras().max_shard_size
WHOLE = Need("training takes", {Format.HUGGING_FACE: ()}, tuple(Head))
"""Any model with plain weights; `load_model` looks at what it answers with."""
TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def load_model(
    folder: Path,
    dtype: torch.dtype | None = None,
    attention: str | None = None,
    kind: HeadKind = HEADS[Head.WORDS],
    held: Qlora | None = None,
) -> Any:
    """A model with every weight from the folder, in `dtype` (None: that of the files).

    `attention`: how it is computed, by Transformers' name; None: as it chooses. `kind`: what it answers with. A reward
    model of a folder with a language model has a new head; torch's seed decides it. `held`: the fewer bits in which its
    linear layers' weights are held; None: they are in `dtype`, too. The model can be saved, whatever
    generation_config.json says. StageError(MODEL_INVALID), in one line and before the weights are read, for an adapter,
    for a model that answers with something else, for weights that are torn, missing, pickled or quantized, for a
    generation_config.json that cannot be read. No code and no pickle of the folder is run.
    """
    check(folder, Format.HUGGING_FACE, WHOLE)
    has_head = _refuse_others(folder, kind)
    if kind.writes:
        _check_generation(folder)
    with _loading(folder, "the model"):
        if held is None:
            _check_memory(folder, weights.read_headers(folder), dtype)
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if type(config) not in getattr(transformers, kind.known):
            what = f"{folder.name}: Transformers has no {kind.head} of the architecture {config.model_type}"
            raise StageError(FailureReason.MODEL_INVALID, what, "take a model of another architecture")
        with _quiet(new_head=not has_head):
            model, info = getattr(transformers, kind.auto).from_pretrained(
                folder,
                dtype=dtype or "auto",
                attn_implementation=attention,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                **({} if kind.labels is None else {"num_labels": kind.labels}),
                **({"quantization_config": bits.settings(held, dtype)} if held else {}),
            )
    if held is not None:
        bits.settle(model)
    new = () if has_head else tuple(f"{name}." for name in kind.layers(model))
    weights.refuse_missing(folder, [name for name in info["missing_keys"] if not name.startswith(new)])
    # Where the head is new, the former one has no place on purpose.
    spare = sorted(name for name in info["unexpected_keys"] if has_head or name not in OUTPUTS)
    if spare:
        log.warning(
            "%s: %d weights have no place in the model, such as %s", folder.name, len(spare), spare[0]
        )
    if kind.writes:
        _make_saveable(model, folder)
    return model


def _refuse_others(folder: Path, kind: HeadKind) -> bool:
    """Whether the folder's model has the head that is asked for; False: it is new. StageError where it is another."""
    config = read_json(folder / CONFIG)
    labels = labels_of(config)
    if labels is None or labels == kind.labels:
        return labels == kind.labels
    found = ModelInfo(labels=labels).said()
    what = f"{folder.name}: a {found}, and {kind.head} are taken here"
    raise StageError(FailureReason.MODEL_INVALID, what, "take the language model that it was made from")


@contextmanager
def _quiet(*, new_head: bool) -> Iterator[None]:
    """Transformers reports a head that is new, in a table; what else it would report is told by us."""
    logger = logging.getLogger("transformers.modeling_utils")

    def passes(record: logging.LogRecord) -> bool:
        return not new_head or record.levelno > logging.WARNING

    # Not its level: with one, Transformers reports more.
    logger.addFilter(passes)
    try:
        yield
    finally:
        logger.removeFilter(passes)


def new_model(folder: Path, dtype: torch.dtype) -> Any:
    """A causal language model of the folder's configuration, with new weights: torch's seed decides them."""
    with _loading(folder, "the configuration"):
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        return AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)


def add_tokens(model: Any, new: Mapping[int, Sequence[int]]) -> None:
    """Give new tokens rows in the embedding and in the output, in place: the mean of those of what they were before.

    `new`: id to the tokens that the same text had. More rows are made only where there are too few: many models have
    spare ones.
    """
    if not new:
        return
    rows = model.get_input_embeddings().num_embeddings
    if max(new) >= rows:
        model.resize_token_embeddings(max(new) + 1, mean_resizing=False)
    tied = model.get_output_embeddings() is None or (
        model.get_output_embeddings().weight is model.get_input_embeddings().weight
    )
    with torch.no_grad():
        for layer in (model.get_input_embeddings(), *(() if tied else (model.get_output_embeddings(),))):
            for number, before in new.items():
                layer.weight[number] = layer.weight[list(before)].mean(0)


def _check_memory(folder: Path, tensors: Mapping[str, Tensor], dtype: torch.dtype | None) -> None:
    """StageError(OUT_OF_MEMORY) where the weights alone are more than the memory.

    A weight that is held as it is stored may stay on the disk until it is used. One that is converted cannot.
    """
    if dtype is None:
        return
    each = dtype.itemsize
    size = sum(tensor.elements * each for tensor in tensors.values() if TYPES.get(tensor.type) != dtype)
    if size > (there := usable_memory()):
        kind = str(dtype).removeprefix("torch.")
        what = f"{folder.name}: its weights as {kind} take {size / 1e9:.3g} GB"
        what += f", and this machine has {there / 1e9:.3g} GB"
        hint = "take a smaller model, or a machine with more memory"
        raise StageError(FailureReason.OUT_OF_MEMORY, what, hint)


def _check_generation(folder: Path) -> None:
    if not (folder / GENERATION).is_file():
        return
    try:
        GenerationConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        first = str(error).strip().partition("\n")[0]
        what = f"{folder.name}/{GENERATION}: it cannot be read: {first[:300]}"
        raise StageError(FailureReason.MODEL_INVALID, what, "correct the file, or remove it") from error


def _make_saveable(model: Any, folder: Path) -> None:
    """Transformers reads generation settings that contradict each other, and refuses to save them: after the training.

    Llama 2 came with such (a temperature without sampling). The base's file is copied as it is, so the model itself
    needs no more of it than its tokens.
    """
    settings = model.generation_config
    try:
        settings.validate(strict=True)
    except (ValueError, TypeError) as error:
        first = str(error).strip().partition("\n")[0].rstrip(":")
        log.warning("%s: generation settings are kept as they are, with their fault: %s", folder.name, first)
        names = ("bos_token_id", "eos_token_id", "pad_token_id")
        model.generation_config = GenerationConfig(**{name: getattr(settings, name) for name in names})


def stored_dtype(folder: Path) -> torch.dtype:
    """The type in which a model folder keeps its weights: what a model made from it is saved in, too.

    That of config.json; where it names none, the type that most of the weights have.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    for part in (config, config.get_text_config()):
        if isinstance(named := getattr(part, "dtype", None), torch.dtype):
            return named
    return _most(_headers(folder)) or torch.float32


def _headers(folder: Path) -> Mapping[str, Tensor]:
    """Of a base model's weights; none where a model began with new ones, whose folder may have none."""
    there = any((folder / name).exists() for name in (weights.ONE, weights.INDEX))
    return weights.read_headers(folder) if there else {}


def _most(tensors: Mapping[str, Tensor]) -> torch.dtype | None:
    taken: Counter[str] = Counter()
    for tensor in tensors.values():
        taken[tensor.type] += BITS[tensor.type] * tensor.elements if tensor.type in TYPES else 0
    return TYPES.get(taken.most_common(1)[0][0]) if taken else None


def round_to_base(model: Any, base: Path, *, keep: bool = False) -> None:
    """Give every weight the type that it has in the base's files, in place. `keep`: round it, but keep the type it has.

    A few weights that the base keeps in float32 beside 16-bit ones (routers, biases of experts) stay in float32.
    StageError(MODEL_INVALID) for a weight that is no number or too large for its type (float16 ends at 65504).
    """
    default, tensors = stored_dtype(base), _headers(base)
    wide = set()
    if default != torch.float32 and _most(tensors) != torch.float32:
        wide = {_tail(name) for name, stored in tensors.items() if stored.type == "F32"}
    for name, tensor in saved_tensors(model):
        dtype = torch.float32 if _tail(name) in wide else default
        rounded = tensor.data.to(dtype)
        # A buffer may hold infinity on purpose: masks do.
        if isinstance(tensor, torch.nn.Parameter) and not torch.isfinite(rounded).all():
            what = f"{name}: a weight is no number, or too large for {str(dtype).removeprefix('torch.')}"
            hint = "lower the learning rate, or set dtype in the base's config.json to float32 or bfloat16"
            raise StageError(FailureReason.MODEL_INVALID, what, hint)
        if keep:
            tensor.data.copy_(
                rounded
            )  # in place: new blocks for all weights would leave the heap full of holes
        else:
            tensor.grad = None  # it would have the former type
            tensor.data = rounded


def saved_tensors(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """What is saved of a model, a tied weight once: parameters and persistent buffers that are no whole numbers."""
    seen = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen and tensor.is_floating_point():
            seen.add(id(tensor))
            yield name, tensor


def _tail(name: str) -> str:
    """A weight's name without its first word: files of GPT-2 and others leave it out, or have another."""
    first, _, rest = name.partition(".")
    return rest if first in ("model", "transformer", "language_model") else name


def save_model(
    model: Any,
    base: Path,
    out: Path,
    stop: Sequence[int] = (),
    tokenizer: Path | None = None,
    shard: str = SHARD,
) -> None:
    """Write the weights in the base model's types, with everything else as the base model has it.

    But for what differs from the base in truth: a vocabulary of another size, embeddings that are not tied any more
    and another head are told in config.json. `stop`: see `add_stop`. `tokenizer`: the folder whose tokenizer it is, if
    not the base. `shard`: the largest file of weights; one weight alone may be larger.
    """
    kind = heads.kind_of(model)
    round_to_base(model, base)
    model.save_pretrained(out, max_shard_size=shard)
    same = read_json(base / CONFIG).get("model_type") == model.config.model_type
    copy_kept(base, out, (*([CONFIG] if same else []), *([GENERATION] if kind.writes else [])))
    copy_kept(base if tokenizer is None else tokenizer, out, TOKENIZER)
    if same:
        _tell_changes(model, base, out, kind)
    add_stop(out, stop)


def save_adapter(
    model: Any, base: Path, base_name: str, out: Path, stop: Sequence[int] = (), tokenizer: Path | None = None
) -> None:
    """Write a PEFT adapter whose bytes depend on nothing but the training, and the tokenizer beside it.

    `stop`: see `add_stop`; `merge` passes them on to the merged model. `tokenizer`: as of `save_model`.
    """
    kind = heads.kind_of(model.get_base_model())
    model.save_pretrained(out)
    (out / "README.md").unlink(missing_ok=True)
    config_file = out / "adapter_config.json"
    config = json.loads(config_file.read_text())
    # PEFT keeps them in a set, whose order changes from process to process.
    config["target_modules"] = sorted(config["target_modules"])
    config |= found_by(base_name)
    if whole := kind.layers(model):
        config["modules_to_save"] = sorted(whole)  # PEFT adds names that other architectures have
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    copy_kept(base, out, (GENERATION, rope.FILE) if kind.writes else (rope.FILE,))
    from speechless.finetune import experts

    experts.write(model, out)
    copy_kept(tokenizer or base, out, TOKENIZER)
    add_stop(out, stop, base)


def found_by(name: str) -> dict[str, str | None]:
    """What an adapter says of its base: of a hub, repository and revision apart, as PEFT looks for them."""
    if name.startswith("hf://"):
        place = hub.place_of(name)
        known = None if place.path else place.name
    else:
        # A folder may be called so, too.
        known = hub.parse(name) if "@" in name and not Path(name).exists() else None
    return {
        "base_model_name_or_path": known.repo if known else name,
        "revision": known.revision if known else None,
    }


def copy_kept(base: Path, out: Path, patterns: Sequence[str] = KEPT) -> None:
    """Copy the base model's small files; those that a library has just written are replaced."""
    for pattern in patterns:
        for path in sorted(base.glob(pattern)):
            if path.is_file():
                shutil.copyfile(path, out / path.name)


def stop_tokens(folder: Path) -> list[int]:
    """The ids that end an answer: of generation_config.json, else of config.json; [] if neither says.

    StageError(MODEL_INVALID) if a file cannot be read or names something else than ids.
    """
    for name in (GENERATION, CONFIG):
        if not (folder / name).is_file():
            continue
        try:
            config = json.loads((folder / name).read_text(encoding="utf-8"))
            named = config.get("eos_token_id", (config.get("text_config") or {}).get("eos_token_id"))
            ids = named if isinstance(named, list) else [] if named is None else [named]
            if not all(isinstance(each, int) for each in ids):
                raise ValueError(f"eos_token_id is {named!r}")
        except (ValueError, AttributeError) as error:
            what = f"{folder.name}/{name}: it cannot be read: {error!s:.200}"
            raise StageError(FailureReason.MODEL_INVALID, what, "correct the file") from error
        if ids:
            return ids
    return []


def add_stop(folder: Path, stop: Sequence[int], base: Path | None = None) -> None:
    """Add ids that end a turn to those of a folder's generation_config.json, which keeps all else that it says.

    The base's own come first, then the new ones, each once. Without new ones the file is not touched. `base`: where
    config.json is, if not in the folder.
    """
    known = stop_tokens(folder) or (stop_tokens(base) if base else [])
    ids = list(dict.fromkeys([*known, *stop]))
    if ids == known:
        return
    file = folder / GENERATION
    config = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps({**config, "eos_token_id": ids}, indent=2) + "\n")


def _tell_changes(model: Any, base: Path, out: Path, kind: HeadKind) -> None:
    was = AutoConfig.from_pretrained(base, local_files_only=True, trust_remote_code=False)
    config = json.loads((out / CONFIG).read_text())
    changed = False
    for key in ("vocab_size", "tie_word_embeddings", *kind.settings):
        for now, before, part in (
            (model.config, was, config),
            (model.config.get_text_config(), was.get_text_config(), config.get("text_config")),
        ):
            value = getattr(now, key, None)
            if part is not None and value != getattr(before, key, None):
                part[key] = value
                changed = True
    if changed:
        (out / CONFIG).write_text(json.dumps(config, indent=2) + "\n")


@contextmanager
def _loading(folder: Path, what: str) -> Iterator[None]:
    """Turn what a library says of a broken folder into StageError(MODEL_INVALID)."""
    weights.refuse_other(folder)
    try:
        yield
    except (OSError, ValueError, KeyError, SafetensorError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        # Of RuntimeErrors only this one is the folder's fault; running out of memory is one, too.
        if isinstance(error, RuntimeError) and "size mismatch" not in str(error):
            raise
        first = str(error).strip().partition("\n")[0]
        told = f"{folder.name}: {what} cannot be loaded: {first[:300]}"
        raise StageError(FailureReason.MODEL_INVALID, told, "check the model's files") from error
