"""What a service can be told: the settings of an InferenceService, and the spec of the stage."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from speechless.contract.engines import ENGINES, ServeEngine, problem_of
from speechless.contract.model import ATOMIC, ContractModel
from speechless.contract.stages import Source, Stage, StageName
from speechless.contract.tables import OneOf


class ServeSettings(ContractModel):
    """How to serve, wherever that is."""

    engine: Annotated[str, OneOf("engine", lambda: ENGINES)] = ServeEngine.LLAMA_CPP.value
    """What answers."""
    context_length: Annotated[int, Field(ge=8, le=16_777_216)] | None = None
    """The largest number of tokens of a conversation; without it, what the model was trained for."""
    parallel: Annotated[int, Field(ge=1, le=1024)] = 1
    """Requests that a pod answers at the same time; they share the context."""
    drain_seconds: Annotated[int, Field(ge=0, le=3600)] | None = None
    """Seconds that answers may take to finish when a pod is told to end: at a roll-out, a drained node, fewer replicas.
    Without it, the engine's: 45. What takes longer is cut off."""
    engine_args: Annotated[
        tuple[Annotated[str, StringConstraints(max_length=1024)], ...],
        Field(max_length=64),
        ATOMIC,
    ] = ()
    """More arguments for the engine, one by one; no shell sees them. Allowed are those that tune it and do not change
    which model answers."""

    @property
    def drained_within(self) -> int:
        """`drain_seconds`, or the engine's."""
        return ENGINES[self.engine].drain_seconds if self.drain_seconds is None else self.drain_seconds


class ServeSpec(ServeSettings, Stage):
    """Verify a model's digest, then serve it with OpenAI-compatible routes."""

    stage: Literal[StageName.SERVE] = StageName.SERVE
    model: Source
    model_name: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    """The name that clients ask for."""
    host: str = "0.0.0.0"
    port: Annotated[int, Field(ge=1, le=65535)] = 8080

    @model_validator(mode="after")
    def _fits(self) -> ServeSpec:
        problem = problem_of(self.engine, self.engine_args)
        if problem:
            raise ValueError(f"engineArgs: {problem}")
        return self
