"""InferenceService: serve a model, behind a gate if it has one."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from speechless import contract
from speechless.contract import engines
from speechless.contract.tables import OneOf
from speechless_operator.api.base import ApiModel, Cel, ListMap, rules
from speechless_operator.api.common import ModelSource, Reference
from speechless_operator.api.pod import PodSettings
from speechless_operator.api.status import ArtifactStatus, BaseStatus, Line, Text, Word

GATE_OVERRIDE = "speechless.dev/gate-override"
"""The annotation that opens a closed gate; its value is the reason."""
GATE_OVERRIDE_BY = f"{GATE_OVERRIDE}-by"
"""Who opened it. The chart's admission policy makes sure that it is the user who wrote it."""
GATE_OVERRIDE_UNTIL = f"{GATE_OVERRIDE}-until"
"""Until when it counts (RFC 3339); without it, until it is taken away."""


class ServiceGate(ApiModel):
    """The Evaluations that must have passed before a model is served."""

    evaluations: Annotated[list[Reference], ListMap(), Field(min_length=1, max_length=16)]
    """Evaluations of this namespace. Each must have scored exactly the artifact that is to be served (the same digest),
    and passed."""
    policy: Literal["Enforce"] = "Enforce"
    """Enforce: a revision is served only after its gate has opened. Until then the revision before is served."""


class InferenceServiceSpec(ApiModel, contract.ServeSettings):
    """What to serve, and how. Everything may change: a new model or engine setting becomes a new revision."""

    model_config = rules(
        Cel(
            rule="!has(self.gate) || !has(self.model.uri) || has(self.model.digest)",
            message="a gate must know what it lets pass: set model.digest, or name a fineTune or quantization",
            field_path=".model",
        ),
        engines.argument_rules,
    )

    model: ModelSource
    """The model to serve."""
    engine: Annotated[str, OneOf("engine", engines.offered)] = contract.ServeEngine.LLAMA_CPP.value
    """What answers."""
    model_name: Annotated[str, StringConstraints(min_length=1, max_length=253)] | None = None
    """The name that clients use as `model`; without it, this resource's name."""
    replicas: Annotated[int, Field(ge=0, le=1000)] = 1
    """Pods of the served revision. `kubectl scale` and autoscalers set it, too."""
    gate: ServiceGate | None = None
    """The Evaluations that must have passed before a model is served."""
    upgrade_policy: Literal["Manual", "Automatic"] = "Manual"
    """Manual: pods keep the image and pod template that they were made with when the operator is upgraded; a change of
    the spec takes the new one. Automatic: an upgrade of the operator makes a new revision."""
    pod: PodSettings = PodSettings()
    """How a pod looks."""


class GateVerdict(ApiModel):
    """What one evaluation says of the model."""

    name: Word
    """The Evaluation."""
    passed: bool
    """Whether it scored exactly this artifact, and passed."""
    message: Text
    """The numbers, or what is missing."""
    samples: int | None = None
    """How many samples the numbers rest on, over all suites."""
    overridden: Word | None = None
    """What the evaluation's author chose of its pod: image, environment. The author can then decide its numbers."""
    gone: bool | None = None
    """The Evaluation does not exist any more. Its verdict on this artifact is kept."""


class GateOverride(ApiModel):
    """The gate was opened by hand."""

    reason: Line
    """As the annotation says it."""
    by: Line | None = None
    """Who opened it, as the annotation speechless.dev/gate-override-by says it."""
    until: Word | None = None
    """When it ends, as the annotation speechless.dev/gate-override-until says it."""
    digest: Word | None = None
    """The artifact for which the gate was opened."""


class GateStatus(ApiModel):
    """The state of the gate for the model that the spec asks for."""

    digest: Word | None = None
    """The artifact that it is about."""
    evaluations: Annotated[list[GateVerdict], ListMap(), Field(max_length=16)] = []
    """What each evaluation says."""
    override: GateOverride | None = None
    """The gate was opened by hand, by the annotation speechless.dev/gate-override."""


class InferenceServiceStatus(BaseStatus):
    """What is served, where, and what is to be served next."""

    url: Line | None = None
    """The base of the OpenAI-compatible routes, inside the cluster."""
    artifact: ArtifactStatus | None = None
    """What is served now."""
    revision: Word | None = None
    """The revision that the spec asks for."""
    serving_revision: Word | None = None
    """The revision that the Service selects."""
    replicas: int | None = None
    """Pods of the served revision."""
    ready_replicas: int | None = None
    """Those of them that are ready."""
    selector: Line | None = None
    """Label selector of the pods, for the scale subresource."""
    gate: GateStatus | None = None
    """The state of the gate for the model that the spec asks for."""
