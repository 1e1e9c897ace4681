"""From a resource's spec to the stage's: one function a kind, names on both sides the same."""

from __future__ import annotations

from typing import Any

from speechless import contract
from speechless_operator.api.base import ApiModel
from speechless_operator.api.evaluation import EvaluationSpec, Suite
from speechless_operator.api.finetune import FineTuneSpec
from speechless_operator.api.inferenceservice import InferenceServiceSpec
from speechless_operator.api.quantization import QuantizationSpec
from speechless_operator.desired.inputs import Run
from speechless_operator.desired.mounts import Mounts
from speechless_operator.desired.objects import Owner


def identity(owner: Owner, spec_hash: str) -> contract.RunIdentity:
    """Whose run it is."""
    return contract.RunIdentity(
        namespace=owner.namespace, kind=owner.kind, name=owner.name, uid=owner.uid, spec_hash=spec_hash
    )


def finetune(spec: FineTuneSpec, run: Run, who: contract.RunIdentity) -> contract.FineTuneSpec:
    """The stage spec of a FineTune."""
    source = run.input("dataset").source
    return contract.FineTuneSpec.model_validate(
        _common(run, who)
        | {
            "model": run.input("model").source,
            "dataset": _plain(spec.dataset) | source.model_dump(by_alias=True, exclude_none=True),
            "method": spec.method,
            "objective": spec.objective,
            "hyperparameters": _plain(spec.hyperparameters),
            "lora": None if spec.lora is None else _plain(spec.lora),
            "checkpoints": _plain(spec.checkpoints),
            "merge": spec.merge,
        }
    )


def evaluate(spec: EvaluationSpec, run: Run, who: contract.RunIdentity) -> contract.EvaluateSpec:
    """The stage spec of an Evaluation."""
    return contract.EvaluateSpec.model_validate(
        _common(run, who)
        | {
            "model": run.input("model").source,
            "suites": [_suite(suite, run) for suite in spec.suites],
            "allowCodeExecution": spec.allow_code_execution,
        }
    )


def _suite(suite: Suite, run: Run) -> dict[str, Any]:
    return _plain(suite) | {"data": run.input(f"suite/{suite.name}").source}


def quantize(spec: QuantizationSpec, run: Run, who: contract.RunIdentity) -> contract.QuantizeSpec:
    """The stage spec of a Quantization."""
    verify = None
    if spec.verify is not None:
        verify = _plain(spec.verify) | {"text": run.input("verify").source}
    return contract.QuantizeSpec.model_validate(
        _common(run, who)
        | {"model": run.input("model").source, "format": spec.format, "type": spec.type, "verify": verify}
    )


def serve(spec: InferenceServiceSpec, run: Run, who: contract.RunIdentity, port: int) -> contract.ServeSpec:
    """The stage spec of an InferenceService."""
    return contract.ServeSpec.model_validate(
        _common(run, who)
        | {
            "model": run.input("model").source,
            "modelName": spec.model_name or who.name,
            "engine": spec.engine,
            "port": port,
            "engineArgs": spec.engine_args,
            "contextLength": spec.context_length,
            "parallel": spec.parallel,
        }
    )


def _common(run: Run, who: contract.RunIdentity) -> dict[str, Any]:
    mounts = Mounts.of([found.uri for found in run.inputs], run.output)
    output = {"output": run.output} if run.output else {}
    return {"run": who, "mounts": mounts.folders} | output


def _plain(model: ApiModel) -> dict[str, Any]:
    """A model's fields by their names on the wire, but for those that are not set."""
    return model.model_dump(by_alias=True, exclude_none=True)
