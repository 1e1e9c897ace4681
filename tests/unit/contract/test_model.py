"""Written sparsely, read tolerantly: what makes two versions understand each other."""

from __future__ import annotations

import json

import pytest

from speechless.contract import (
    DatasetSource,
    DataSource,
    EvaluateSpec,
    FetchSpec,
    FineTuneSpec,
    Hyperparameters,
    QuantizeSpec,
    RunIdentity,
    ServeSpec,
    Source,
    StageResult,
    Suite,
    parse_spec,
    unknown_fields,
)

MODEL = Source(uri="pvc://models/base")


def test_what_is_unset_or_has_its_default_is_not_written() -> None:
    spec = FineTuneSpec(
        model=MODEL,
        dataset=DatasetSource(uri="pvc://models/rows.jsonl"),
        output="pvc://a/b",
        hyperparameters=Hyperparameters(seed=42, max_length=64),
    )
    assert json.loads(spec.to_json()) == {
        "version": "v1",
        "stage": "finetune",
        "model": {"uri": "pvc://models/base"},
        "dataset": {"uri": "pvc://models/rows.jsonl"},
        "output": "pvc://a/b",
        "hyperparameters": {"maxLength": 64},
    }
    assert parse_spec(spec.to_json()) == spec


SUITE = Suite(name="s", type="Perplexity", data=DataSource(uri="pvc://models/base"))


@pytest.mark.parametrize(
    "spec",
    [
        FetchSpec(source=MODEL, output="pvc://a/b"),
        EvaluateSpec(model=MODEL, suites=(SUITE,), output="pvc://a/b", allow_code_execution=True),
        QuantizeSpec(model=MODEL, output="pvc://a/b", run=RunIdentity(name="x")),
        ServeSpec(model=MODEL, model_name="x", engine_args=("--threads", "4")),
    ],
)
def test_every_spec_comes_back_as_it_was(spec: FetchSpec) -> None:
    assert parse_spec(spec.to_json()) == spec
    assert parse_spec(spec.to_json(indent=2)) == spec


def test_unknown_fields_are_ignored_and_named() -> None:
    raw = {
        "stage": "evaluate",
        "output": "pvc://a/b",
        "model": {"uri": "pvc://m/x", "mirror": "pvc://m/y"},
        "suites": [
            {"name": "a", "type": "Perplexity", "data": {"uri": "pvc://m/t"}},
            {"name": "b", "type": "Perplexity", "data": {"uri": "pvc://m/t", "shard": "test"}, "shots": 3},
        ],
        "surprise": 1,
    }
    spec = parse_spec(json.dumps(raw))
    assert unknown_fields(spec, raw) == ["model.mirror", "suites.1.data.shard", "suites.1.shots", "surprise"]


def test_a_field_may_be_written_by_its_name_in_python() -> None:
    raw = {"uri": "pvc://m/x", "wait_seconds": 3}
    assert unknown_fields(Source.model_validate(raw), raw) == []


@pytest.mark.parametrize("text", ["{", "[]", "null", "3", '{"stage": "dance"}', '{"version": "v2"}'])
def test_what_is_no_spec_is_a_value_error_that_names_the_field(text: str) -> None:
    with pytest.raises(ValueError, match=r".+: .+"):
        parse_spec(text)


def test_a_later_version_of_the_format_is_refused() -> None:
    with pytest.raises(ValueError, match="version"):
        StageResult.model_validate_json('{"version": "v2", "outcome": "Succeeded"}')


def test_a_small_rate_is_written_as_ever() -> None:
    """An immutable ConfigMap has this text: another version of the operator must not write it otherwise."""
    spec = FineTuneSpec(
        model=MODEL,
        dataset=DatasetSource(uri="pvc://models/rows.jsonl"),
        output="pvc://a/b",
        hyperparameters=Hyperparameters(learning_rate=1e-5),
    )
    assert '"learningRate": 1e-05' in spec.to_json(indent=2)
