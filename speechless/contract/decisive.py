"""What of a stage spec decides the result: two specs that agree in it make one artifact, or one checkpoint."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, JsonValue

from speechless.contract.evaluate import EvaluateSpec
from speechless.contract.finetune import FineTuneSpec
from speechless.contract.quantize import QuantizeSpec
from speechless.contract.serve import ServeSpec
from speechless.contract.stages import FetchSpec, Source

# Whose run it is, and where on this machine things are. Then: how often it is saved on the way and who is told, which
# changes no weight, and what somebody judges by afterwards.
_NOT = frozenset(
    {
        "version", "stage", "run", "mounts", "secrets", "work_dir", "output", "output_secret_ref", "checkpoints",
        "tracking", "gate_metrics", "host", "port",
    }
)  # fmt: skip


def decisive(
    spec: FetchSpec | FineTuneSpec | EvaluateSpec | QuantizeSpec | ServeSpec, *, defaults: bool = False
) -> dict[str, JsonValue]:
    """What decides the result, as JSON by the wire's names, without what is unset or has its default.

    A source counts by its URI and, where it is known, its digest; how long it is waited for and who asks do not.
    With `defaults`, defaults are written out: what an artifact's manifest records, so that it says what was used.
    """
    told = spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=not defaults)
    found = _plain(spec, told)
    names = {type(spec).model_fields[name].alias or name for name in _NOT & set(type(spec).model_fields)}
    return {name: value for name, value in found.items() if name not in names}


def _plain(model: BaseModel, told: dict[str, Any]) -> dict[str, Any]:
    """What a model told of itself, without how long its sources are waited for and who asks."""
    without = {"wait_seconds", "secret_ref"} if isinstance(model, Source) else set()
    found: dict[str, Any] = {}
    for name, info in type(model).model_fields.items():
        alias, inner = info.alias or name, getattr(model, name)
        if name in without or alias not in told:
            continue
        if isinstance(inner, BaseModel):
            found[alias] = _plain(inner, told[alias])
        elif isinstance(inner, tuple) and inner and all(isinstance(item, BaseModel) for item in inner):
            found[alias] = [_plain(item, each) for item, each in zip(inner, told[alias], strict=True)]
        else:
            found[alias] = told[alias]
    return found
