"""From a resource's spec to the stage's: one function a kind. The settings are the contract's own on both sides."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from speechless import contract
from speechless.contract import suites
from speechless_operator.api.evaluation import EvaluationSpec, Suite
from speechless_operator.api.finetune import FineTuneSpec
from speechless_operator.api.inferenceservice import InferenceServiceSpec
from speechless_operator.api.quantization import QuantizationSpec
from speechless_operator.desired.inputs import Run
from speechless_operator.desired.mounts import Mounts
from speechless_operator.desired.objects import Owner

_ENVELOPE = 1024 + 512
"""Bytes of a result beside its metrics and inputs: an artifact with a long URI, and what is always there."""
_A_METRIC, _AN_INPUT = 48, 192
"""Bytes of one beside its name."""


def identity(owner: Owner, spec_hash: str) -> contract.RunIdentity:
    """Whose run it is."""
    return contract.RunIdentity(
        namespace=owner.namespace, kind=owner.kind, name=owner.name, uid=owner.uid, spec_hash=spec_hash
    )


def finetune(spec: FineTuneSpec, run: Run, who: contract.RunIdentity) -> contract.FineTuneSpec:
    """The stage spec of a FineTune."""
    return contract.FineTuneSpec.model_validate(
        _common(run, who)
        | _settings(spec, contract.FineTuneSettings)
        | {
            "model": run.input("model").source,
            "dataset": _plain(spec.dataset) | _plain(run.input("dataset").source),
        }
    )


def evaluate(spec: EvaluationSpec, run: Run, who: contract.RunIdentity) -> contract.EvaluateSpec:
    """The stage spec of an Evaluation."""
    made = contract.EvaluateSpec.model_validate(
        _common(run, who)
        | _settings(spec, contract.EvaluateSettings)
        | {
            "model": run.input("model").source,
            "suites": [_suite(suite, run) for suite in spec.suites],
        }
    )
    judged = tuple(gate.metric for gate in spec.gates)
    return made.model_copy(update={"gate_metrics": judged}) if judged and not _surely_fits(made) else made


def _suite(suite: Suite, run: Run) -> dict[str, Any]:
    return _plain(suite) | {"data": _plain(run.input(f"suite/{suite.name}").source)}


def _surely_fits(spec: contract.EvaluateSpec) -> bool:
    """Whether the result has room for every metric, so that nobody need say which matter.

    It is not said then, because a stage of an earlier version refuses a field that it does not know.
    """
    size = _ENVELOPE + _AN_INPUT
    for suite in spec.suites:
        names = suites.SUITES[suite.type].metrics(suite)
        if names is None:
            return False
        size += _AN_INPUT + sum(len(suite.name) + len(name) + _A_METRIC for name in names)
    return size <= contract.TERMINATION_MESSAGE_LIMIT


def quantize(spec: QuantizationSpec, run: Run, who: contract.RunIdentity) -> contract.QuantizeSpec:
    """The stage spec of a Quantization."""
    verify = None
    if spec.verify is not None:
        verify = _plain(spec.verify) | {"text": _plain(run.input("verify").source)}
    return contract.QuantizeSpec.model_validate(
        _common(run, who)
        | _settings(spec, contract.QuantizeSettings)
        | {"model": run.input("model").source, "verify": verify}
    )


def serve(spec: InferenceServiceSpec, run: Run, who: contract.RunIdentity, port: int) -> contract.ServeSpec:
    """The stage spec of an InferenceService."""
    return contract.ServeSpec.model_validate(
        _common(run, who)
        | _settings(spec, contract.ServeSettings)
        | {
            "model": run.input("model").source,
            "modelName": spec.model_name or who.name,
            "port": port,
        }
    )


def _common(run: Run, who: contract.RunIdentity) -> dict[str, Any]:
    mounts = Mounts.of(run)
    made: dict[str, Any] = {"run": who, "mounts": mounts.folders}
    if mounts.secrets:
        made["secrets"] = mounts.secret_folders
    if run.output:
        made["output"] = run.output
    if run.output_secret:
        made["outputSecretRef"] = {"name": run.output_secret}
    return made


def _settings(spec: BaseModel, shared: type[BaseModel]) -> dict[str, Any]:
    """The fields that a resource's spec and its stage's spec have from the same model of the contract."""
    return {name: getattr(spec, name) for name in shared.model_fields}


def _plain(model: BaseModel) -> dict[str, Any]:
    """A model's fields by their names on the wire, but for those that are not set."""
    return model.model_dump(by_alias=True, exclude_none=True)
