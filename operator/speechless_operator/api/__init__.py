"""The four kinds of `speechless.dev/v1alpha1` as pydantic models: the CRDs and reference pages are made from them.

What a docstring says under a field is what `kubectl explain` shows. Pure: no IO, no clock.
"""

from speechless_operator.api.common import ModelSource
from speechless_operator.api.evaluation import EvaluationSpec, EvaluationStatus
from speechless_operator.api.finetune import FineTuneSpec, FineTuneStatus
from speechless_operator.api.inferenceservice import InferenceServiceSpec, InferenceServiceStatus
from speechless_operator.api.kinds import API_VERSION, GROUP, KINDS, VERSION, Kind
from speechless_operator.api.pod import PodSettings
from speechless_operator.api.quantization import QuantizationSpec, QuantizationStatus
from speechless_operator.api.reasons import Reason

__all__ = [
    "API_VERSION",
    "GROUP",
    "KINDS",
    "VERSION",
    "EvaluationSpec",
    "EvaluationStatus",
    "FineTuneSpec",
    "FineTuneStatus",
    "InferenceServiceSpec",
    "InferenceServiceStatus",
    "Kind",
    "ModelSource",
    "PodSettings",
    "QuantizationSpec",
    "QuantizationStatus",
    "Reason",
]
