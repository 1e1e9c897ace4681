"""What a CRD says beside its schema: names, columns, subresources."""

from __future__ import annotations

from dataclasses import dataclass

from speechless_operator.api.base import ApiModel
from speechless_operator.api.evaluation import EvaluationSpec, EvaluationStatus
from speechless_operator.api.finetune import FineTuneSpec, FineTuneStatus
from speechless_operator.api.inferenceservice import InferenceServiceSpec, InferenceServiceStatus
from speechless_operator.api.quantization import QuantizationSpec, QuantizationStatus

GROUP = "speechless.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
CATEGORY = "speechless"


@dataclass(frozen=True)
class Column:
    """A column of `kubectl get`; priority 1 is shown by `-o wide` only."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0


@dataclass(frozen=True)
class Kind:
    """One kind."""

    name: str
    plural: str
    short: str
    spec: type[ApiModel]
    status: type[ApiModel]
    columns: tuple[Column, ...]
    scale: bool = False

    @property
    def singular(self) -> str:
        """As in `kubectl get <singular>`."""
        return self.name.lower()

    @property
    def crd_name(self) -> str:
        """The CustomResourceDefinition's name."""
        return f"{self.plural}.{GROUP}"

    @property
    def is_job(self) -> bool:
        """Whether it runs once and ends."""
        return not self.scale


def _condition(kind: str, field: str) -> str:
    return f'.status.conditions[?(@.type=="{kind}")].{field}'


_PHASE = Column("Phase", ".status.phase")
_REASON = Column("Reason", _condition("Ready", "reason"))
_PROGRESS = Column("Progress", ".status.progress.summary")
_MODEL = Column("Model", ".status.model")
_AGE = Column("Age", ".metadata.creationTimestamp", type="date")
_DIGEST = Column("Digest", ".status.artifact.digest", priority=1)
_MESSAGE = Column("Message", _condition("Ready", "message"), priority=1)

FINE_TUNE = Kind(
    "FineTune",
    "finetunes",
    "ft",
    FineTuneSpec,
    FineTuneStatus,
    (_PHASE, _REASON, _PROGRESS, _MODEL, Column("Method", ".spec.method"), _AGE, _DIGEST, _MESSAGE),
)
EVALUATION = Kind(
    "Evaluation",
    "evaluations",
    "slev",
    EvaluationSpec,
    EvaluationStatus,
    (
        _PHASE,
        _REASON,
        _PROGRESS,
        _MODEL,
        Column("Passed", _condition("Passed", "status")),
        Column("Score", ".status.score"),
        _AGE,
        _MESSAGE,
    ),
)
QUANTIZATION = Kind(
    "Quantization",
    "quantizations",
    "slq",
    QuantizationSpec,
    QuantizationStatus,
    (
        _PHASE,
        _REASON,
        _PROGRESS,
        _MODEL,
        Column("Type", ".spec.type"),
        Column("Bytes", ".status.artifact.sizeBytes", type="integer"),
        _AGE,
        _DIGEST,
        _MESSAGE,
    ),
)
INFERENCE_SERVICE = Kind(
    "InferenceService",
    "inferenceservices",
    "slis",
    InferenceServiceSpec,
    InferenceServiceStatus,
    (
        Column("Ready", _condition("Ready", "status")),
        _REASON,
        _MODEL,
        Column("Gate", _condition("GatePassed", "status")),
        Column("Replicas", ".status.readyReplicas", type="integer"),
        Column("URL", ".status.url"),
        _AGE,
        Column("Revision", ".status.servingRevision", priority=1),
        Column("Digest", ".status.artifact.digest", priority=1),
        _MESSAGE,
    ),
    scale=True,
)
KINDS: dict[str, Kind] = {
    kind.name: kind for kind in (FINE_TUNE, EVALUATION, QUANTIZATION, INFERENCE_SERVICE)
}
