"""Reading a model folder whole, and writing one that keeps what the base model came with."""

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM

from speechless.contract import FailureReason
from speechless.errors import StageError

log = logging.getLogger(__name__)

# Everything that is neither weights nor documentation: copied byte by byte, so that the tokenizer, the chat template
# and the generation settings are the base model's own whatever a library would write today.
KEPT = (
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "*.tiktoken",
    "chat_template*",
)


def load_model(folder: Path, dtype: torch.dtype | None = None, attention: str | None = None) -> Any:
    """A causal language model with every weight from the folder, in `dtype` (None: that of the files).

    `attention`: how it is computed, by Transformers' name; None: as it chooses.
    """
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        what = f"{folder.name}: an adapter, not a whole model"
        raise StageError(
            FailureReason.MODEL_INVALID, what, "merge it into its base model first (merge: true)"
        )
    _refuse_quantized(folder)
    with _loading(folder, "the model"):
        model, info = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype or "auto",
            attn_implementation=attention,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        what = f"{folder.name}: {len(missing)} weights are missing, such as {missing[0]}"
        raise StageError(FailureReason.MODEL_INVALID, what, "they would be random; bring the whole model")
    return model


def new_model(folder: Path, dtype: torch.dtype) -> Any:
    """A causal language model of the folder's configuration, with new weights: torch's seed decides them."""
    with _loading(folder, "the configuration"):
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        return AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)


def _refuse_quantized(folder: Path) -> None:
    """StageError(MODEL_INVALID) for weights that were quantized: what is saved would not fit their config.json."""
    try:
        config = json.loads((folder / "config.json").read_text())
        parts = [config, *(part for part in config.values() if isinstance(part, dict))]
        found = next((part["quantization_config"] for part in parts if part.get("quantization_config")), None)
    except (OSError, ValueError, AttributeError):
        return  # told by who loads it
    if found is not None:
        method = found.get("quant_method", "an unknown method") if isinstance(found, dict) else found
        what = f"{folder.name}: its weights are quantized already ({method})"
        hint = "take the model that it was made from, with weights as bfloat16, float16 or float32"
        raise StageError(FailureReason.MODEL_INVALID, what, hint)


def stored_dtype(folder: Path) -> torch.dtype:
    """The type in which a model folder keeps its weights: what a model made from it is saved in, too."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    named = getattr(config, "dtype", None)
    return named if isinstance(named, torch.dtype) else torch.float32


def save_model(model: Any, base: Path, out: Path) -> None:
    """Write the weights in the base model's type, with everything else as the base model has it."""
    model.to(stored_dtype(base)).save_pretrained(out)
    copy_kept(base, out)


def save_adapter(model: Any, base: Path, base_name: str, out: Path) -> None:
    """Write a PEFT adapter whose bytes depend on nothing but the training, and the tokenizer beside it."""
    model.save_pretrained(out)
    (out / "README.md").unlink(missing_ok=True)
    config_file = out / "adapter_config.json"
    config = json.loads(config_file.read_text())
    # PEFT keeps them in a set, whose order changes from process to process.
    config["target_modules"] = sorted(config["target_modules"])
    config["base_model_name_or_path"] = base_name
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    copy_kept(base, out, but=("config.json",))


def copy_kept(base: Path, out: Path, but: tuple[str, ...] = ()) -> None:
    """Copy the base model's small files; those that a library has just written are replaced."""
    for pattern in KEPT:
        for path in sorted(base.glob(pattern)):
            if path.is_file() and path.name not in but:
                shutil.copyfile(path, out / path.name)


@contextmanager
def _loading(folder: Path, what: str) -> Iterator[None]:
    """Turn what a library says of a broken folder into StageError(MODEL_INVALID)."""
    if not (folder / "config.json").is_file():
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
