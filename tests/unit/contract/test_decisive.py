"""What decides a result: for the operator's run, an artifact that is found, a checkpoint."""

from __future__ import annotations

from typing import Any

import pytest

from speechless.contract import EvaluateSpec, FineTuneSpec, decisive, parse_spec
from speechless.stage.provenance import difference, parameters

DIGEST = "sha256:" + "a" * 64
FINE_TUNE: dict[str, Any] = {
    "stage": "finetune",
    "output": "pvc://a/b",
    "model": {"uri": "pvc://m/base", "digest": DIGEST},
    "dataset": {"uri": "pvc://m/rows"},
}
SUITE = {"name": "s", "type": "HumanEval", "data": {"uri": "pvc://m/t"}}
EVALUATE: dict[str, Any] = {
    "stage": "evaluate",
    "output": "pvc://a/b",
    "model": {"uri": "pvc://m/base"},
    "suites": [SUITE],
    "allowCodeExecution": True,
}
# As the manifest of version 9a567eb has them: every default written out, and what decides nothing.
OLD_FINE_TUNE = {
    "model": {"uri": "pvc://m/base", "digest": DIGEST, "waitSeconds": 7},
    "dataset": {"uri": "pvc://m/rows", "waitSeconds": 0, "format": "Auto", "evalFraction": 0.0},
    "method": "LoRA",
    "objective": "SFT",
    "hyperparameters": {
        "numTrainEpochs": 3.0, "perDeviceTrainBatchSize": 4, "gradientAccumulationSteps": 1, "warmupSteps": 0,
        "lrSchedulerType": "cosine", "weightDecay": 0.0, "maxGradNorm": 1.0, "maxLength": 1024, "seed": 42,
    },
    "checkpoints": {"everySteps": 5, "keep": 2},
    "merge": True,
}  # fmt: skip
OLD_EVALUATE = {
    "model": {"uri": "pvc://m/base", "waitSeconds": 0},
    "suites": [
        {
            "name": "s", "type": "HumanEval", "data": {"uri": "pvc://m/t", "waitSeconds": 0}, "samplesPerTask": 1,
            "k": [1], "temperature": 0.0, "maxTokens": 512, "timeoutSeconds": 10.0, "seed": 42,
        }
    ],
    "allowCodeExecution": True,
}  # fmt: skip


def spec(raw: dict[str, Any], **more: Any) -> Any:
    import json

    return parse_spec(json.dumps(raw | more))


def test_it_is_what_was_set() -> None:
    assert decisive(spec(FINE_TUNE)) == {"model": FINE_TUNE["model"], "dataset": FINE_TUNE["dataset"]}
    assert decisive(spec(EVALUATE)) == {
        "model": {"uri": "pvc://m/base"},
        "suites": [SUITE],
        "allowCodeExecution": True,
    }


@pytest.mark.parametrize(
    "more",
    [
        {"run": {"name": "other", "uid": "u"}},
        {"mounts": {"m": "/mnt/m"}},
        {"workDir": "/other"},
        {"output": "pvc://other/place"},
        {"checkpoints": {"everySteps": 3, "keep": 9}},
        {"tracking": {"reportTo": ["MLflow"], "runName": "x"}},
        {"model": {"uri": "pvc://m/base", "digest": DIGEST, "waitSeconds": 60}},
        {"merge": True, "method": "LoRA", "hyperparameters": {"seed": 42}},
        {"aFieldOfALaterVersion": 1},
    ],
)
def test_what_decides_nothing_is_not_in_it(more: dict[str, Any]) -> None:
    assert decisive(spec(FINE_TUNE, **more)) == decisive(spec(FINE_TUNE))


@pytest.mark.parametrize(
    "more",
    [
        {"model": {"uri": "pvc://m/other", "digest": DIGEST}},
        {"model": {"uri": "pvc://m/base", "digest": "sha256:" + "b" * 64}},
        {"model": {"uri": "pvc://m/base"}},
        {"hyperparameters": {"seed": 43}},
        {"dataset": {"uri": "pvc://m/rows", "maxSamples": 3}},
        {"lora": {"r": 8}},
        {"merge": False},
    ],
)
def test_what_decides_is_in_it(more: dict[str, Any]) -> None:
    assert decisive(spec(FINE_TUNE, **more)) != decisive(spec(FINE_TUNE))


def test_what_gates_need_decides_nothing() -> None:
    assert decisive(spec(EVALUATE, gateMetrics=["s/pass@1"])) == decisive(spec(EVALUATE))


def test_every_field_is_decided_about() -> None:
    """A new field of a stage's spec decides the result unless somebody says here that it does not."""
    said = {
        "version",
        "run",
        "mounts",
        "secrets",
        "work_dir",
        "output",
        "stage",
        "checkpoints",
        "tracking",
        "gate_metrics",
    }
    for model in (FineTuneSpec, EvaluateSpec):
        made = spec(FINE_TUNE if model is FineTuneSpec else EVALUATE)
        written = {
            name for name, info in model.model_fields.items() if info.alias in decisive(made, defaults=True)
        }
        unset = {name for name in model.model_fields if getattr(made, name) is None}
        assert written | unset | said >= set(model.model_fields)
        assert not written & said


@pytest.mark.parametrize(("old", "raw"), [(OLD_FINE_TUNE, FINE_TUNE), (OLD_EVALUATE, EVALUATE)])
def test_an_artifact_of_the_version_before_is_recognized(old: dict[str, Any], raw: dict[str, Any]) -> None:
    assert difference(old, spec(raw)) is None


@pytest.mark.parametrize("raw", [FINE_TUNE, EVALUATE])
def test_an_artifact_of_this_version_is_recognized(raw: dict[str, Any]) -> None:
    assert difference(parameters(spec(raw)), spec(raw)) is None


@pytest.mark.parametrize(
    ("more", "where"),
    [
        ({"hyperparameters": {"seed": 1}}, "hyperparameters.seed"),
        ({"hyperparameters": {"seed": "many"}}, "hyperparameters.seed"),
        ({"hyperparameters": {"optimizer": "muon"}}, "hyperparameters.optimizer"),
        ({"model": {"uri": "pvc://m/other"}}, "model.digest"),
        ({"merge": False}, "merge"),
    ],
)
def test_other_settings_are_named(more: dict[str, Any], where: str) -> None:
    assert difference({**OLD_FINE_TUNE, **more}, spec(FINE_TUNE)) == where
