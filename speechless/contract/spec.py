"""What a stage is told to do: /etc/speechless/stage.json.

Everything a user may set reaches a stage as a value in this file, never as part of a command line or a shell's text.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from speechless.contract.evaluate import EvaluateSpec
from speechless.contract.finetune import FineTuneSpec
from speechless.contract.quantize import QuantizeSpec
from speechless.contract.serve import ServeSpec
from speechless.contract.stages import FetchSpec

__all__ = [
    "EvaluateSpec",
    "FetchSpec",
    "FineTuneSpec",
    "QuantizeSpec",
    "ServeSpec",
    "StageSpec",
    "parse_spec",
]

StageSpec = Annotated[
    FetchSpec | FineTuneSpec | EvaluateSpec | QuantizeSpec | ServeSpec, Field(discriminator="stage")
]
_ADAPTER: TypeAdapter[FetchSpec | FineTuneSpec | EvaluateSpec | QuantizeSpec | ServeSpec] = TypeAdapter(
    StageSpec
)


def parse_spec(text: str | bytes) -> FetchSpec | FineTuneSpec | EvaluateSpec | QuantizeSpec | ServeSpec:
    """A stage spec from JSON; ValueError with `field.path: what is wrong`, a line each, when it is not one.

    Fields that this version does not know are ignored; `unknown_fields` names them.
    """
    try:
        return _ADAPTER.validate_json(text)
    except ValidationError as problem:
        lines = [
            f"{'.'.join(map(str, e['loc'])) or 'spec'}: {e['msg']}" for e in problem.errors(include_url=False)
        ]
        raise ValueError("\n".join(lines)) from None
