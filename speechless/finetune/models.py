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
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from speechless.contract import FailureReason, Qlora
from speechless.errors import StageError
from speechless.finetune import bits, weights
from speechless.models.quantization import quantization_of, quantized
from speechless.models.safetensors import BITS, Tensor
from speechless.models.small import read_json

log = logging.getLogger(__name__)

# Everything that is neither weights nor documentation: copied byte by byte, so that the tokenizer, the chat template
# and the generation settings are the base model's own whatever a library would write today.
CONFIG, GENERATION = "config.json", "generation_config.json"
TOKENIZER = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "*.tiktoken",
    "chat_template*",
)
KEPT = (CONFIG, GENERATION, *TOKENIZER)

TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def load_model(
    folder: Path,
    dtype: torch.dtype | None = None,
    attention: str | None = None,
    held: Qlora | None = None,
) -> Any:
    """A causal language model with every weight from the folder, in `dtype` (None: that of the files).

    `attention`: how it is computed, by Transformers' name; None: as it chooses. `held`: the fewer bits in which its
    linear layers' weights are held; None: they are in `dtype`, too. The model can be saved, whatever
    generation_config.json says. StageError(MODEL_INVALID), in one line and before the weights are read, for an adapter,
    for weights that are torn, missing, pickled or quantized, for a generation_config.json that cannot be read. No code
    and no pickle of the folder is run.
    """
    _refuse_adapter(folder)
    _refuse_quantized(folder)
    _check_generation(folder)
    with _loading(folder, "the model"):
        tensors = weights.read_headers(folder)
        if found := quantized(tensors.values()):
            raise _quantized_already(folder, f"{found.name} is {found.type}")
        model, info = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype or "auto",
            attn_implementation=attention,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            **({"quantization_config": bits.settings(held, dtype)} if held else {}),
            output_loading_info=True,
        )
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        what = f"{folder.name}: {len(missing)} weights are missing, such as {missing[0]}"
        raise StageError(FailureReason.MODEL_INVALID, what, "they would be random; bring the whole model")
    if info["unexpected_keys"]:
        spare = sorted(info["unexpected_keys"])
        log.warning(
            "%s: %d weights have no place in the model, such as %s", folder.name, len(spare), spare[0]
        )
    _make_saveable(model, folder)
    return model


def new_model(folder: Path, dtype: torch.dtype) -> Any:
    """A causal language model of the folder's configuration, with new weights: torch's seed decides them."""
    with _loading(folder, "the configuration"):
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        return AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)


def _refuse_adapter(folder: Path) -> None:
    if not (folder / "adapter_config.json").is_file():
        return
    if (folder / CONFIG).is_file():
        # Transformers would load the model that adapter_config.json names, wherever that is, instead of this one.
        what = f"{folder.name}: it holds config.json and adapter_config.json: a model, or an adapter?"
        raise StageError(
            FailureReason.MODEL_INVALID, what, "move the adapter's files to a folder of their own"
        )
    what = f"{folder.name}: an adapter, not a whole model"
    raise StageError(FailureReason.MODEL_INVALID, what, "merge it into its base model first (merge: true)")


def _refuse_quantized(folder: Path) -> None:
    """StageError(MODEL_INVALID) for weights that were quantized: what is saved would not fit their config.json."""
    if found := quantization_of(folder, read_json(folder / CONFIG)):
        raise _quantized_already(folder, found.method)


def _quantized_already(folder: Path, method: str) -> StageError:
    what = f"{folder.name}: its weights are quantized already ({method})"
    hint = "take the model that it was made from, with weights as bfloat16, float16 or float32"
    return StageError(FailureReason.MODEL_INVALID, what, hint)


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
    return _most(weights.read_headers(folder)) or torch.float32


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
    default, tensors = stored_dtype(base), weights.read_headers(base)
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
    model: Any, base: Path, out: Path, stop: Sequence[int] = (), tokenizer: Path | None = None
) -> None:
    """Write the weights in the base model's types, with everything else as the base model has it.

    But for what differs from the base in truth: a vocabulary of another size and embeddings that are not tied any more
    are told in config.json. `stop`: see `add_stop`. `tokenizer`: the folder whose tokenizer it is, if not the base.
    """
    round_to_base(model, base)
    model.save_pretrained(out)
    copy_kept(base, out, KEPT if tokenizer is None else (CONFIG, GENERATION))
    if tokenizer is not None:
        copy_kept(tokenizer, out, TOKENIZER)
    _tell_changes(model, base, out)
    add_stop(out, stop)


def save_adapter(model: Any, base: Path, base_name: str, out: Path, stop: Sequence[int] = ()) -> None:
    """Write a PEFT adapter whose bytes depend on nothing but the training, and the tokenizer beside it.

    `stop`: see `add_stop`; `merge` passes them on to the merged model.
    """
    model.save_pretrained(out)
    (out / "README.md").unlink(missing_ok=True)
    config_file = out / "adapter_config.json"
    config = json.loads(config_file.read_text())
    # PEFT keeps them in a set, whose order changes from process to process.
    config["target_modules"] = sorted(config["target_modules"])
    config["base_model_name_or_path"] = base_name
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    copy_kept(base, out, (GENERATION, *TOKENIZER))
    add_stop(out, stop, base)


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


def _tell_changes(model: Any, base: Path, out: Path) -> None:
    was = AutoConfig.from_pretrained(base, local_files_only=True, trust_remote_code=False)
    config = json.loads((out / CONFIG).read_text())
    changed = False
    for key in ("vocab_size", "tie_word_embeddings"):
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
    if not (folder / CONFIG).is_file():
        told = f"{folder.name}: no config.json: this is no Hugging Face model folder"
        raise StageError(FailureReason.MODEL_INVALID, told, "name the folder that holds config.json")
    try:
        yield
    except (OSError, ValueError, KeyError, SafetensorError, RuntimeError) as error:
        # Of RuntimeErrors only this one is the folder's fault; running out of memory is one, too.
        if isinstance(error, RuntimeError) and "size mismatch" not in str(error):
            raise
        first = str(error).strip().partition("\n")[0]
        told = f"{folder.name}: {what} cannot be loaded: {first[:300]}"
        raise StageError(FailureReason.MODEL_INVALID, told, "check the model's files") from error
