"""What a folder's weight files hold, by their headers alone: torn, missing, pickled and quantized ones are told early.

The format: 8 bytes with the header's length, the header as JSON, the tensors
(https://huggingface.co/docs/safetensors#format).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from speechless.contract import FailureReason
from speechless.errors import StageError

LONGEST_HEADER = 100_000_000
"""Bytes; that of the safetensors library."""
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = ("pytorch_model*.bin", "model*.bin", "consolidated*.pth", "*.ckpt")
"""Weights by other names; beside them lie pickles that are none, such as training_args.bin."""
BITS = {"BOOL": 8, "F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16}
"""Bits of an element; of other types 8 or less."""


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


@dataclass(frozen=True)
class Stored:
    """A tensor as a header tells it."""

    dtype: str
    """As safetensors calls it: F32, BF16, F8_E4M3, ..."""
    shape: tuple[int, ...]

    @property
    def bits(self) -> int:
        """Its size, for comparing types by what they take."""
        return BITS.get(self.dtype, 8) * prod(self.shape)


def read_header(file: Path) -> dict[str, Stored]:
    """The tensors of a safetensors file by name. StageError(MODEL_INVALID) if the file is cut off or no such file."""
    where = f"{file.parent.name}/{file.name}"
    size = file.stat().st_size
    with file.open("rb") as handle:
        begin = handle.read(8)
        if begin == b"version ":
            what = f"{where}: a pointer of Git LFS, not the weights"
            raise StageError(FailureReason.MODEL_INVALID, what, "'git lfs pull' brings them")
        length = int.from_bytes(begin, "little")
        if len(begin) < 8 or length > LONGEST_HEADER or 8 + length > size:
            what = f"{where}: no safetensors file, or cut off in its header ({size} bytes)"
            raise StageError(FailureReason.MODEL_INVALID, what, "bring the file again, whole")
        text = handle.read(length)
    try:
        header = {name: told for name, told in json.loads(text).items() if name != "__metadata__"}
        found = {name: Stored(told["dtype"], tuple(told["shape"])) for name, told in header.items()}
        end = max((told["data_offsets"][1] for told in header.values()), default=0)
    except (ValueError, AttributeError, TypeError, KeyError, IndexError) as error:
        what = f"{where}: no safetensors file: its header cannot be read"
        raise StageError(FailureReason.MODEL_INVALID, what, "bring the file again, whole") from error
    if size != 8 + length + end:
        what = f"{where}: torn: {size} of {8 + length + end} bytes"
        raise StageError(FailureReason.MODEL_INVALID, what, "bring the file again, whole")
    return found


def read_headers(folder: Path) -> dict[str, Stored]:
    """All tensors of a model folder by name. StageError(MODEL_INVALID) if a file is missing, torn or a pickle."""
    if (folder / SINGLE).is_file():
        return read_header(folder / SINGLE)
    if not (folder / INDEX).is_file():
        raise _no_weights(folder)
    try:
        named: Mapping[str, str] = json.loads((folder / INDEX).read_text())["weight_map"]
        shards = sorted(set(named.values()))
        outside = next((shard for shard in shards if Path(shard).name != shard), None)
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        what = f"{folder.name}/{INDEX}: it cannot be read"
        raise StageError(FailureReason.MODEL_INVALID, what, "bring the file again, whole") from error
    if outside is not None:
        what = f"{folder.name}/{INDEX}: {outside!r} is not the name of a file beside it"
        raise StageError(FailureReason.MODEL_INVALID, what, "bring the whole model")
    missing = [shard for shard in shards if not (folder / shard).is_file()]
    if missing:
        what = f"{folder.name}: {len(missing)} of {len(shards)} files with weights are missing, such as {missing[0]}"
        raise StageError(FailureReason.MODEL_INVALID, what, "bring the whole model")
    headers = {shard: read_header(folder / shard) for shard in shards}
    lost = sorted(name for name, shard in named.items() if name not in headers[shard])
    if lost:
        what = f"{folder.name}: {len(lost)} weights of the index are not in their files, such as {lost[0]}"
        raise StageError(FailureReason.MODEL_INVALID, what, "bring the whole model")
    return {name: stored for header in headers.values() for name, stored in header.items()}


def _no_weights(folder: Path) -> StageError:
    for pattern in PICKLES:
        if found := sorted(folder.glob(pattern)):
            what = f"{folder.name}: its weights are pickled ({found[0].name}), and pickles are never read"
            return StageError(FailureReason.MODEL_INVALID, what, safe(pattern, SINGLE))
    if gguf := next(iter(sorted(folder.glob("*.gguf"))), None):
        what = f"{folder.name}: a GGUF model ({gguf.name}), which cannot be trained or merged into"
        return StageError(
            FailureReason.MODEL_INVALID, what, "take the Hugging Face folder that it was made from"
        )
    what = f"{folder.name}: no weights: neither {SINGLE} nor {INDEX}"
    return StageError(FailureReason.MODEL_INVALID, what, "bring the whole model")


def quantized(tensors: Mapping[str, Stored]) -> str | None:
    """The first tensor that only quantized weights have, with its type; None: there is none.

    Whole numbers alone say nothing: older models hold masks and positions in their files.
    """
    for name, stored in sorted(tensors.items()):
        small = stored.dtype.startswith(("F8", "F6", "F4"))
        packed = name.endswith((".qweight", ".weight_packed", ".qzeros"))
        whole = name.endswith(".weight") and stored.dtype in ("I8", "U8", "I32", "U32")
        if small or packed or whole:
            return f"{name} is {stored.dtype}"
    return None
