"""A model whose rotary positions are scaled, on request: a folder of links, with a config.json of its own.

`linear` and `yarn` tell the longer context as `max_position_embeddings`. `dynamic` counts from the model's own, so that
stays. Scaling that a model has is never changed.
"""

from __future__ import annotations

import json
import logging
import math
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from speechless.contract import FailureReason, Format, RopeScaling
from speechless.errors import StageError
from speechless.models import read_info
from speechless.models.small import read_json

log = logging.getLogger(__name__)

FILE = "rope_scaling.json"
"""Beside an adapter: the scaling that its base model has to get before the two are merged."""
_CONFIG = "config.json"
_HINT = "leave ropeScaling out"


def prepare(model: Path, wanted: RopeScaling | None, longest: int, folder: Path) -> Path:
    """The model with its positions scaled, below `folder`; the model itself where nothing is to be changed.

    `longest`: tokens that a row may have, which say the factor where none is given. StageError(INVALID_SPEC) for a
    model without rotary positions, one with other scaling, and one whose context is long enough.
    """
    if wanted is None:
        return model
    known = _parameters(model)
    info = read_info(model, Format.HUGGING_FACE)
    context = info.context_length if info else None
    if context is None:
        raise _refused(model, "config.json does not say how many positions it has")
    has = known.get("rope_type", "default")
    if has != "default":
        factor = known.get("factor")
        if has == wanted.type and wanted.factor in (None, factor):
            log.info("%s: its positions are scaled so already (%s, factor %s)", model.name, has, factor)
            return model
        raise _refused(model, f"its positions are scaled already ({has}, factor {factor}), and stay so")
    if wanted.factor is None and longest <= context:
        what = f"rows of {longest} tokens are within its {context} positions"
        raise _refused(model, what, f"name a factor, or {_HINT}")
    factor = float(wanted.factor or math.ceil(longest / context))
    made = _write(model, RopeScaling(type=wanted.type, factor=factor), context, folder / model.name)
    log.info("%s: positions scaled (%s, factor %g): %d become %d", model.name, wanted.type, factor, context,
             int(context * factor))  # fmt: skip
    return made


@contextmanager
def as_trained(base: Path, adapter: Path) -> Iterator[Path]:
    """The base model as an adapter's was, scaled where that one was.

    StageError(MODEL_INVALID) where the file beside the adapter cannot be read; else as of `prepare`.
    """
    if not (adapter / FILE).is_file():
        yield base
        return
    try:
        wanted = RopeScaling.model_validate_json((adapter / FILE).read_bytes())
    except ValidationError as error:
        what = f"{adapter.name}/{FILE}: it cannot be read: {error.errors()[0]['msg']}"
        raise StageError(FailureReason.MODEL_INVALID, what, "bring the file again") from error
    with tempfile.TemporaryDirectory(prefix="speechless-rope-") as folder:
        yield prepare(base, wanted, 0, Path(folder))


def _parameters(model: Path) -> dict[str, Any]:
    """The rotary positions of a model's configuration, as Transformers reads them. StageError(INVALID_SPEC): none."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(model, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().partition("\n")[0]
        what = f"{model.name}: the configuration cannot be loaded: {first[:300]}"
        raise StageError(FailureReason.MODEL_INVALID, what, "check the model's files") from error
    found = getattr(config.get_text_config(), "rope_parameters", None)
    if not found:
        raise _refused(model, "it has no rotary positions")
    if any(isinstance(value, Mapping) for value in found.values()):
        raise _refused(model, "its layers have rotary positions of several kinds")
    return dict(found)


def _write(model: Path, scaling: RopeScaling, context: int, folder: Path) -> Path:
    """A folder with the model's files as links, and its configuration with the scaling."""
    assert scaling.factor is not None
    folder.mkdir(parents=True, exist_ok=True)
    for path in model.iterdir():
        if path.name != _CONFIG and not (folder / path.name).exists():
            (folder / path.name).symlink_to(path.resolve())
    config = read_json(model / _CONFIG)
    part = config["text_config"] if isinstance(config.get("text_config"), dict) else config
    told: dict[str, Any] = {"rope_type": scaling.type, "factor": scaling.factor}
    if scaling.type == "yarn":
        told["original_max_position_embeddings"] = context
    # Before Transformers 5 the base of the rotation stood beside the scaling, and now it is one of its values.
    name = "rope_parameters" if isinstance(part.get("rope_parameters"), dict) else "rope_scaling"
    part[name] = {**(part.get(name) or {}), **told}
    if scaling.type != "dynamic":
        part["max_position_embeddings"] = int(context * scaling.factor)
    (folder / _CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / FILE).unlink(missing_ok=True)
    (folder / FILE).write_text(scaling.model_dump_json() + "\n", encoding="utf-8")
    read = _parameters(folder)
    if (read.get("rope_type"), read.get("factor")) != (scaling.type, scaling.factor):
        raise _refused(model, "its kind of configuration does not take it")
    return folder


def _refused(model: Path, why: str, hint: str = _HINT) -> StageError:
    return StageError(FailureReason.INVALID_SPEC, f"ropeScaling: {model.name}: {why}", hint)
