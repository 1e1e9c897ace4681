"""A folder with a PEFT adapter: what can be merged, told by its small files, and the adapter on its base model.

Nothing of the folder is run: pickles are not read, and settings that make PEFT import a module are refused.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechless.contract import Experts, FailureReason
from speechless.contract.modelinfo import Head
from speechless.errors import StageError
from speechless.finetune.heads import HEADS, HeadKind, of_task
from speechless.models import weights
from speechless.models.adapter import labels_of
from speechless.models.safetensors import Tensor

CONFIG, WEIGHTS, PICKLED = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
PREFIX = "base_model.model."
WHOLE = ("weight", "base_layer.weight", "token_adapter.base_layer.weight")
"""What a layer's own weight is called behind the layer's name, bare or in one of PEFT's wrappers."""

_TOKENS = "adds tokens to the input; it has no weights to merge into the model's"
_KEYS = "adds keys and values before the input's; it has no weights to merge into the model's"
REFUSED = {
    "PROMPT_TUNING": f"prompt tuning {_TOKENS}",
    "MULTITASK_PROMPT_TUNING": f"multitask prompt tuning {_TOKENS}",
    "P_TUNING": f"p-tuning {_TOKENS}",
    "CPT": f"context-aware prompt tuning {_TOKENS}",
    "PREFIX_TUNING": f"prefix tuning {_KEYS}",
    "CARTRIDGE": f"a cartridge {_KEYS}",
    "ADAPTION_PROMPT": "an adaption prompt adds gated attention to learned tokens, which no weight of the model can do",
    "XLORA": "X-LoRA mixes its adapters anew for every token; no fixed weights say the same",
    "POLY": "Poly mixes its adapters by a task that comes with the input; no fixed weights say the same",
    "LILY": "Lily mixes its adapters anew for every token; no fixed weights say the same",
    "SHADOW": "a shadow network runs beside the model; no fixed weights say the same",
}
"""Kinds of adapters (`peft_type`) that no weights of the base can stand for, and why. All others are merged and
compared: whether PEFT can merge one is then told by PEFT."""

SETTINGS = {
    "alora_invocation_tokens": "it acts only behind certain tokens (aLoRA); no fixed weights say the same",
    "arrow_config": "it mixes adapters anew for every token (Arrow); no fixed weights say the same",
    "layer_replication": "it repeats layers of the base, so the merged model would be another architecture",
    "megatron_config": "it is for Megatron, and would have a module imported that it names",
}
"""Settings of LoRA of which the same is true."""
STARTS = ("corda", "lora_ga", "loftq", "pissa_niter")
"""`init_lora_weights` that begin by changing the base's weights, in a way that cannot be repeated from the folder.
PiSSA by the exact decomposition and OLoRA change them, too, but PEFT does the same again."""


@dataclass(frozen=True)
class AdapterFolder:
    """An adapter that may be merged, as far as its small files tell."""

    path: Path
    config: Mapping[str, Any]
    """What adapter_config.json says."""
    tensors: Mapping[str, Tensor]
    """Its weights, by their names in the file."""

    experts: Experts | None = None
    """What its experts are, where it is one of experts."""

    @property
    def kind(self) -> str:
        """`peft_type`, such as LORA."""
        return str(self.config["peft_type"])

    @property
    def head(self) -> HeadKind:
        """What the model answers with that it is for."""
        return of_task(self.config.get("task_type")) or HEADS[Head.WORDS]

    def rows(self, name: str) -> int | None:
        """How many tokens an embedding or output layer of this name has by the adapter; None: it holds none of it."""
        for suffix, axis in (
            ("weight", 0),
            ("base_layer.weight", 0),
            ("lora_embedding_A", 1),
            ("lora_B.weight", 0),
        ):
            if stored := self.tensors.get(f"{PREFIX}{name}.{suffix}"):
                return stored.shape[axis]
        return None

    def holds(self, name: str) -> bool:
        """Whether it brings the whole weight of that layer."""
        return any(f"{PREFIX}{name}.{suffix}" in self.tensors for suffix in WHOLE)

    def trained_tokens(self) -> list[int]:
        """Ids of the tokens whose rows of the embedding it trained one by one."""
        named = self.config.get("trainable_token_indices") or self.config.get("token_indices") or []
        lists = named.values() if isinstance(named, dict) else [named]
        return sorted({int(token) for each in lists for token in each})


def read(path: Path) -> AdapterFolder:
    """The adapter in a folder; StageError(MODEL_INVALID), in one line, for one that cannot be merged."""
    from peft import PeftType

    from speechless.finetune import experts

    try:
        config = json.loads((path / CONFIG).read_text(encoding="utf-8"))
        kind = str(config["peft_type"])
    except FileNotFoundError as error:
        raise _invalid(path, f"no {CONFIG}: this is no adapter", "name the adapter's folder") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _invalid(path, f"{CONFIG} cannot be read: {error!r:.200}", "bring the file again") from error
    if kind not in {known.value for known in PeftType}:
        raise _invalid(path, f"this version of PEFT knows no adapters of the kind {kind}", "use a newer PEFT")
    if kind in REFUSED:
        raise _invalid(path, REFUSED[kind], "publish the adapter alone (merge: false)")
    if of_task(task := config.get("task_type")) is None:
        what = f"an adapter for {task}, neither for a causal language model nor for a reward model"
        raise _invalid(path, what, "name another adapter")
    for setting, why in SETTINGS.items():
        if config.get(setting):
            raise _invalid(path, f"{setting}: {why}", "publish the adapter alone (merge: false)")
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(STARTS):
        what = f"init_lora_weights: {start}: its training began with changed weights of the base, which are not here"
        hint = (
            "save it with path_initial_model_for_weight_conversion, or merge it into the base saved beside it"
        )
        raise _invalid(path, what, f"{hint} (and init_lora_weights: true)")
    if not (path / WEIGHTS).is_file():
        if (path / PICKLED).is_file():
            hint = weights.safe(PICKLED, WEIGHTS)
            raise _invalid(path, f"its weights are pickled ({PICKLED}), and pickles are never read", hint)
        raise _invalid(path, f"no {WEIGHTS}", "bring the whole adapter")
    found = AdapterFolder(path, config, weights.by_name(path / WEIGHTS), experts.read(path))
    if (labels := labels_of(config, found.tensors.values())) not in (None, found.head.labels):
        what = f"an adapter of a classifier of {labels} classes, neither of a language model nor of a reward model"
        raise _invalid(path, what, "name another adapter")
    return found


def attach(model: Any, folder: AdapterFolder) -> Any:
    """The base model with the adapter on it, in evaluation mode; the model itself is changed.

    StageError(MODEL_INVALID) if the adapter's settings are unknown to this PEFT, its weights have other shapes than
    the base's layers, or some are missing or left over: PEFT would leave those random, or unused, with a warning.
    """
    from peft import PeftConfig, get_peft_model

    from speechless.finetune import experts

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with _fitting(model, folder):
            config = PeftConfig.from_pretrained(str(folder.path))
            unknown = next((str(each.message) for each in warned if "are ignored" in str(each.message)), None)
            if unknown:
                _refuse_unknown(folder, config)
            config.inference_mode = True
            if folder.experts:
                config = experts.settle(config, folder.experts)
            adapted = get_peft_model(model, config)
            mapping = getattr(model, "_checkpoint_conversion_mapping", None) or {}
            found = adapted.load_adapter(str(folder.path), "default", torch_device="cpu", key_mapping=mapping)
    missing = [key for key in found.missing_keys if "vblora_vector_bank" not in key]  # one, under many names
    spare = [key for key in found.unexpected_keys if not _twice(key, folder)]
    for keys, what in ((missing, "are missing in it"), (spare, "have no place in the base model")):
        if keys:
            told = f"{len(keys)} of its weights {what}, such as {_name(sorted(keys)[0])}"
            raise _invalid(folder.path, told, _OTHER_BASE)
    adapted.eval()
    return adapted


_OTHER_BASE = "name the base model it was trained on"


def _name(key: str) -> str:
    return key.removeprefix(PREFIX).replace(".default", "")


def _twice(key: str, folder: AdapterFolder) -> bool:
    """Whether PEFT wrote a weight twice, and finds no place for the second: it does so after a change of vocabulary."""
    name = PREFIX + _name(key)
    if ".modules_to_save." in name:
        return name.replace(".modules_to_save.", ".") in folder.tensors
    delta = ".token_adapter.trainable_tokens_delta"  # of a tied output, beside the embedding's
    return name.endswith(delta) and sum(each.endswith(delta) for each in folder.tensors) > 1


def _refuse_unknown(folder: AdapterFolder, config: Any) -> None:
    """Settings of a newer PEFT: harmless if unset, of unknown effect if not."""
    known = {*config.to_dict(), "auto_mapping", "runtime_config"}
    for key, value in sorted(folder.config.items()):
        if key not in known and value:
            what = f"{CONFIG}: this version of PEFT does not know {key}, so it cannot say the same"
            raise _invalid(folder.path, what, "use a newer PEFT")


@contextmanager
def _fitting(model: Any, folder: AdapterFolder) -> Iterator[None]:
    """Turn what PEFT says of an adapter that does not fit into StageError(MODEL_INVALID)."""
    try:
        yield
    # NotImplementedError is a RuntimeError, KeyError a LookupError.
    except (ValueError, LookupError, TypeError, OSError, AttributeError, RuntimeError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [repr(error)]
        if isinstance(error, KeyError) and error.args and str(error.args[0]).startswith(PREFIX):
            what = f"its weights lack {_name(error.args[0])}"
            raise _invalid(folder.path, what, "bring the whole adapter") from error
        first = next((line for line in lines if "size mismatch" in line), lines[0])
        # Of RuntimeErrors only this one is the adapter's fault; running out of memory is one, too.
        if type(error) is RuntimeError and "size mismatch" not in first:
            raise
        what = f"the adapter does not fit {Path(model.name_or_path).name}: {first[:300]}"
        raise _invalid(folder.path, what, _OTHER_BASE) from error


def merged(adapted: Any, folder: AdapterFolder) -> Any:
    """The base model with the adapter added to its weights, in place; StageError(MODEL_INVALID) if PEFT cannot."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return adapted.merge_and_unload(safe_merge=True)
        except (ValueError, AttributeError, TypeError, RuntimeError) as error:
            # An adapter of which a part has no place in the base, such as a bias where the layer has none.
            if type(error) is RuntimeError and "mpossible" not in str(error):
                raise
            first = str(error).strip().partition("\n")[0]
            what = f"PEFT cannot merge an adapter of the kind {folder.kind} here: {first[:300]}"
            raise _invalid(folder.path, what, "publish the adapter alone (merge: false)") from error


def _invalid(path: Path, what: str, hint: str) -> StageError:
    return StageError(FailureReason.MODEL_INVALID, f"{path.name}: {what}", hint)
