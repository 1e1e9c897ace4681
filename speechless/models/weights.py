"""The weights of a model that is to be loaded, by their headers: none may be missing or pickled."""

from collections.abc import Collection, Mapping
from pathlib import Path

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.models.safetensors import INDEX, ONE, Tensor, read_header
from speechless.models.small import read_json

PICKLES = ("pytorch_model*.bin", "model*.bin", "consolidated*.pth", "*.ckpt")
"""Weights by other names; beside them lie pickles that are none, such as training_args.bin."""


def safe(pickles: str, target: str) -> str:
    """How to make a safetensors file of pickled weights: a command, to be run in their folder.

    Each tensor is cloned, because tensors that share memory cannot be saved.
    """
    return (
        'a pickle can run anything when it is read. Where you trust it: python -c "import glob, torch; '
        "from safetensors.torch import save_file; "
        f"w = [torch.load(f, map_location='cpu', weights_only=True) for f in sorted(glob.glob('{pickles}'))]; "
        "save_file({k: t.clone().contiguous() for p in w for k, t in p.items()}, "
        f"'{target}', {{'format': 'pt'}})\""
    )


def by_name(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. StageError(MODEL_INVALID) if it is torn or no such file."""
    return {tensor.name: tensor for tensor in read_header(file)}


def read_headers(folder: Path) -> dict[str, Tensor]:
    """All tensors of a model folder by name. StageError(MODEL_INVALID) if a file is missing, torn or a pickle."""
    if (folder / ONE).is_file():
        return by_name(folder / ONE)
    if not (folder / INDEX).is_file():
        raise _no_weights(folder)
    named = read_json(folder / INDEX).get("weight_map")
    if (
        not isinstance(named, Mapping)
        or not named
        or not all(isinstance(each, str) for each in named.values())
    ):
        what = f"{folder.name}/{INDEX}: its weight_map does not name the files of the weights"
        raise StageError(FailureReason.MODEL_INVALID, what, "bring the file again, whole")
    shards = sorted(set(named.values()))
    outside = next((shard for shard in shards if Path(shard).name != shard), None)
    if outside is not None:
        what = f"{folder.name}/{INDEX}: {outside!r} is not the name of a file beside it"
        raise StageError(FailureReason.MODEL_INVALID, what, "bring the whole model")
    missing = [shard for shard in shards if not (folder / shard).is_file()]
    if missing:
        what = f"{folder.name}: {len(missing)} of {len(shards)} files with weights are missing, such as {missing[0]}"
        raise StageError(FailureReason.MODEL_INVALID, what, "bring the whole model")
    headers = {shard: by_name(folder / shard) for shard in shards}
    lost = sorted(name for name, shard in named.items() if name not in headers[shard])
    if lost:
        what = f"{folder.name}: {len(lost)} weights of the index are not in their files, such as {lost[0]}"
        raise StageError(FailureReason.MODEL_INVALID, what, "bring the whole model")
    return {name: tensor for header in headers.values() for name, tensor in header.items()}


def _no_weights(folder: Path) -> StageError:
    for pattern in PICKLES:
        if found := sorted(folder.glob(pattern)):
            what = f"{folder.name}: its weights are pickled ({found[0].name}), and pickles are never read"
            return StageError(FailureReason.MODEL_INVALID, what, safe(pattern, ONE))
    if gguf := next(iter(sorted(folder.glob("*.gguf"))), None):
        what = f"{folder.name}: its weights are those of a GGUF model ({gguf.name}), beside a config.json"
        return StageError(
            FailureReason.MODEL_INVALID, what, "take the Hugging Face folder that it was made from"
        )
    what = f"{folder.name}: no weights: neither {ONE} nor {INDEX}"
    return StageError(FailureReason.MODEL_INVALID, what, "bring the whole model")


def refuse_other(folder: Path) -> None:
    """StageError(MODEL_INVALID) for a folder that is no model's."""
    if not (folder / "config.json").is_file():
        what = f"{folder.name}: no config.json: this is no Hugging Face model folder"
        raise StageError(FailureReason.MODEL_INVALID, what, "name the folder that holds config.json")


def refuse_adapter(folder: Path) -> None:
    """StageError(MODEL_INVALID) for a folder that is an adapter, or both."""
    if not (folder / "adapter_config.json").is_file():
        return
    if (folder / "config.json").is_file():
        # Transformers would load the model that adapter_config.json names, wherever that is, instead of this one.
        what = f"{folder.name}: it holds config.json and adapter_config.json: a model, or an adapter?"
        raise StageError(
            FailureReason.MODEL_INVALID, what, "move the adapter's files to a folder of their own"
        )
    what = f"{folder.name}: an adapter, not a whole model"
    raise StageError(FailureReason.MODEL_INVALID, what, "merge it into its base model first (merge: true)")


def refuse_missing(folder: Path, missing: Collection[str]) -> None:
    """StageError(MODEL_INVALID) for weights that a library did not find, and made by chance instead."""
    if missing:
        what = f"{folder.name}: {len(missing)} weights are missing, such as {min(missing)}"
        raise StageError(FailureReason.MODEL_INVALID, what, "they would be random; bring the whole model")
