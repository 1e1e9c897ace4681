"""The tables of the contract: what a row says, and what follows from it."""

from __future__ import annotations

import inspect
import re
from dataclasses import MISSING, fields

import pytest

from speechless.contract import STAGE_IMAGES, Format, SuiteOptions, SuiteType, engines, storage, suites
from tests.unit.layout.repository import ROOT

SHA = "sha256:" + "0" * 64
GUARDS = {
    storage.Scheme: {"may_write", "administrator_only", "mounts"},
    suites.SuiteKind: {"executes_code", "needs_gpu", "options"},
    engines.Engine: {"offered", "needs_gpu", "arguments", "reserved", "environment"},
}


@pytest.mark.parametrize(("row", "guards"), GUARDS.items())
def test_what_guards_something_has_no_default(row: type, guards: set[str]) -> None:
    without = {found.name for found in fields(row) if found.default is found.default_factory is MISSING}
    assert guards <= without


def test_a_row_stands_under_its_own_name() -> None:
    for table in (storage.SCHEMES, suites.SUITES, engines.ENGINES):
        assert [row.name for row in table.values()] == list(table)
        assert all(row.text for row in table.values())


def test_names_in_code_are_rows() -> None:
    assert {kind.value for kind in SuiteType} == set(suites.SUITES)
    assert {engine.value for engine in engines.ServeEngine} == set(engines.ENGINES)


def test_a_suite_takes_options_that_there_are() -> None:
    known = {info.alias for info in SuiteOptions.model_fields.values()}
    assert all(set(row.options) <= known for row in suites.SUITES.values())
    assert {option for row in suites.SUITES.values() for option in row.options} == known


def test_a_suites_metrics_follow_from_its_options() -> None:
    options = SuiteOptions(samples_per_task=5, k=(1, 5), temperature=1)
    assert suites.SUITES["HumanEval"].metrics(options) == (
        "pass@1",
        "pass@5",
        "samples",
        "timeouts",
        "errors",
    )


def test_what_nobody_knows_is_taken_to_run_code() -> None:
    assert suites.executes_code("Unheard")


def test_every_image_has_a_folder() -> None:
    names = {*STAGE_IMAGES.values(), *engines.images()}
    assert {name for name in names if not (ROOT / "images" / name / "Containerfile").is_file()} == set()


@pytest.mark.parametrize(
    ("base", "what"),
    [
        ("oci://registry:5000/team", None),
        ("oci://registry:5000/team:v1", "names one artifact"),
        ("oci://registry/team@sha256:" + "0" * 64, "names one artifact"),
        ("s3://bucket/a:b", None),
        ("pvc://claim/../x", "leads out of its place"),
    ],
)
def test_a_place_for_artifacts_is_not_one_artifact(base: str, what: str | None) -> None:
    if what is None:
        storage.check_base(base)
        return
    with pytest.raises(storage.UriError, match=what):
        storage.check_base(base)


CLIENTS = {"local": None, "bucket": "obstore", "hub": "huggingface-hub", "oci": "oras"}
"""What a store's module needs beside Python."""


def test_every_image_that_runs_a_stage_reaches_every_scheme() -> None:
    assert {row.store for row in storage.SCHEMES.values()} == set(CLIENTS)
    for image in {*STAGE_IMAGES.values(), *engines.images()}:
        locked = (ROOT / "images" / image / "requirements.txt").read_text()
        missing = [name for name in CLIENTS.values() if name and f"\n{name}==" not in f"\n{locked}"]
        assert missing == [], image


def test_an_engine_allows_nothing_that_it_reserves() -> None:
    for row in engines.ENGINES.values():
        assert not set(row.arguments) & set(row.reserved)
        assert engines.serving(row.formats[0])


@pytest.mark.parametrize(
    "flag",
    [
        *(
            "--lora",
            "--lora-scaled",
            "--model-url",
            "-hf",
            "--override-kv",
            "--chat-template",
            "--control-vector",
        ),
        *(
            "--grammar",
            "--grammar-file",
            "--json-schema",
            "--mmproj",
            "--draft",
            "-md",
            "--rpc",
            "--path",
            "--api-key",
        ),
        *(
            "--ssl-key-file",
            "--log-file",
            "--slot-save-path",
            "--media-path",
            "--tools",
            "--mcp-servers-json",
        ),
        *(
            "--rope-scale",
            "--yarn-ext-factor",
            "--models-dir",
            "--props",
            "--port",
            "--no-slots",
            "--ignore-eos",
        ),
    ],
)
def test_llama_server_gets_no_flag_that_changes_what_answers_or_reaches_out(flag: str) -> None:
    assert engines.problem_of("LlamaCpp", [flag, "x"])
    assert engines.problem_of("LlamaCpp", [f"{flag}=x"])


def test_an_engine_that_is_not_there_is_a_problem() -> None:
    assert engines.problem_of("Steam", []) == "there is no engine Steam"


def test_every_format_is_served_or_is_none_of_a_whole_model() -> None:
    assert {form for form in Format if not engines.serving(form)} == {
        Format.ADAPTER,
        Format.REPORT,
        Format.DATASET,
    }


@pytest.mark.parametrize(
    ("uri", "host", "parts"),
    [
        ("pvc://models/a/b%20c", "models", ("a", "b c")),
        ("pvc://models", "models", ()),
        ("pvc://models/%ff", "models", ("\udcff",)),
        ("file:///a//./b", "", ("a", "b")),
        ("image://reg:5000/team/coder:v1/models/a%20b", "reg:5000/team/coder:v1", ("models", "a b")),
        (f"image://reg/coder:v1@{SHA}", f"reg/coder:v1@{SHA}", ()),
        (f"image://reg/coder@{SHA}/x", f"reg/coder@{SHA}", ("x",)),
    ],
)
def test_a_uri_means_a_place(uri: str, host: str, parts: tuple[str, ...]) -> None:
    place = storage.check(uri)
    assert (place.host, place.parts) == (host, parts)


@pytest.mark.parametrize(
    ("uri", "what"),
    [
        (
            "ftp://host/x",
            "has the scheme 'ftp': this version knows pvc://, hf://, s3://, gs://, az://, oci://, image:// and file://",
        ),
        ("s3:///x", "names no bucket: write s3://<bucket>/<path>"),
        ("models/x", "has the scheme 'models/x'"),
        ("pvc:///x", "names no claim: write pvc://<claim>/<path>"),
        (
            "image://registry:5000/team/coder/models",
            "names no image with a tag or a digest: write image://<reg",
        ),
        ("image://coder:v1/models", "names no image with a tag or a digest"),
        ("image://registry/coder:v1/../x", "leads out"),
        ("pvc://m/../x", "leads out"),
        ("pvc://m/%2e%2e/x", "leads out"),
        ("pvc://m/a%2fb", "leads out"),
        ("pvc://m/a%00b", "leads out"),
        ("pvc://m/a?b", "query"),
        ("file://host/x", "write three slashes"),
    ],
)
def test_a_uri_that_means_none_says_what_to_write(uri: str, what: str) -> None:
    with pytest.raises(storage.UriError, match=re.escape(what)):
        storage.check(uri)


def test_a_rule_names_every_scheme() -> None:
    rule = storage.rule()
    assert all(row.pattern in rule.rule and row.example in rule.message for row in storage.SCHEMES.values())
    assert "file" not in storage.examples(writable=True)


def test_the_tables_are_pure() -> None:
    for module in (storage, suites, engines):
        assert "import os" not in inspect.getsource(module)
