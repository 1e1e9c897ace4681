"""Parts of a source: who may say patterns, a configuration and a split, and that they decide the result."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from speechless.contract import DataSource, Source, decisive, parse_spec, storage
from speechless_operator.api.common import ModelSource
from speechless_operator.desired.inputs import Input, Run

EXAMPLES = {
    "pvc": "pvc://m/x",
    "hf": "hf://org/x",
    "s3": "s3://bucket/x",
    "gs": "gs://bucket/x",
    "az": "az://bucket/x",
    "oci": "oci://registry/x",
    "image": "image://registry/x:v1/y",
    "file": "file:///x",
}


@pytest.mark.parametrize("name", storage.SCHEMES)
def test_the_row_of_a_scheme_decides_who_may_say_patterns(name: str) -> None:
    uri = EXAMPLES[name]
    for fields in ({"include": ("*.json",)}, {"exclude": ("original/*",)}):
        if storage.SCHEMES[name].chooses:
            assert Source(uri=uri, **fields).to_plain() == {
                "uri": uri,
                **{key: list(value) for key, value in fields.items()},
            }
            continue
        for model in (Source, DataSource, ModelSource):
            with pytest.raises(ValidationError, match=rf"{name}:// is read where it is: name the folder"):
                model(uri=uri, **fields)


def test_what_a_pod_mounts_and_a_file_take_none() -> None:
    assert {name for name, row in storage.SCHEMES.items() if not row.chooses} == {"pvc", "image", "file"}


def test_the_rule_of_the_schema_names_those_who_choose() -> None:
    rule = storage.choice_rule()
    for name, row in storage.SCHEMES.items():
        assert (f"startsWith('{name}://')" in rule.rule) == row.chooses
        assert (f"{name}://" in rule.message) != row.chooses


def spec(**more: Any) -> Any:
    told = {
        "stage": "finetune",
        "output": "pvc://a/b",
        "model": {"uri": "hf://o/m"},
        "dataset": {"uri": "hf://o/d"},
    }
    for role, fields in more.items():
        told[role] = {**told[role], **fields}  # type: ignore[dict-item]
    return parse_spec(json.dumps(told))


@pytest.mark.parametrize(
    "more",
    [
        {"model": {"include": ["*.json"]}},
        {"model": {"exclude": ["original/*"]}},
        {"dataset": {"include": ["*.json"]}},
        {"dataset": {"config": "main"}},
        {"dataset": {"split": "train"}},
    ],
)
def test_a_part_decides_the_result(more: dict[str, Any]) -> None:
    told = decisive(spec(**more))
    assert told != decisive(spec())
    ((role, fields),) = more.items()
    assert told[role] == {**decisive(spec())[role], **fields}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "split", ["train", "train[:10%]", "train[10:20]", "train[-5:]", "train[:10%] + test[50%:]", "a.b", "all"]
)
def test_a_split_is_written_as_datasets_has_it(split: str) -> None:
    assert DataSource(uri="hf://o/d", split=split).split == split


@pytest.mark.parametrize(
    "split", ["", "train[", "train[:x]", "../x", "a/b", "train;rm", "train[:1][:2]", "+", "$(x)"]
)
def test_what_is_no_split_is_refused(split: str) -> None:
    with pytest.raises(ValidationError):
        DataSource(uri="hf://o/d", split=split)


@pytest.mark.parametrize("config", ["", "a/b", "a\\b", "a:b", "a\nb", "a*"])
def test_what_is_no_configuration_is_refused(config: str) -> None:
    with pytest.raises(ValidationError):
        DataSource(uri="hf://o/d", config=config)
    assert DataSource(uri="hf://o/d", config="2023-en.v1 (x)").config == "2023-en.v1 (x)"


def test_a_run_remembers_what_it_reads() -> None:
    """Status and annotation: an operator that restarts makes the same stage spec again."""
    part = Input("dataset", "hf://o/d", include=("*.json",), exclude=("x/*",), config="main", split="train")
    told = part.status()
    assert told == {
        "name": "dataset", "uri": "hf://o/d", "include": ["*.json"], "exclude": ["x/*"], "config": "main",
        "split": "train",
    }  # fmt: skip
    assert Input.read(json.loads(json.dumps(told))) == part
    assert part.source == DataSource(
        uri="hf://o/d", include=("*.json",), exclude=("x/*",), config="main", split="train"
    )
    model = Input("model", "hf://o/m", include=("*.json",))
    assert Run.from_json(Run((model,)).to_json()) == Run((model,))
    plain = Input("model", "hf://o/m")
    assert plain.status() == {"name": "model", "uri": "hf://o/m"}
    assert "include" not in Run((plain,)).to_json(), "an older operator reads what it always did"


@pytest.mark.parametrize("found", [{"include": "x"}, {"include": [1, None]}, {"include": {"a": 1}}])
def test_a_status_that_somebody_wrote_is_read_all_the_same(found: dict[str, Any]) -> None:
    read = Input.read({"name": "model", "uri": "hf://o/m", **found})
    assert read is not None
    assert read.include == ()
