"""The demo: what it looks at before it makes anything, and what a model of one's own changes."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from demo.__main__ import MANIFESTS, main, objects
from demo.given import Given
from demo.resources import CHAIN, chain
from demo.tools import DEFAULT_CLASS, ROOT, DemoError, without_class
from tests.docs.checks.schemas import resource_problem

PLAIN: dict[str, Any] = {"metadata": {"name": "slow"}}
DEFAULT: dict[str, Any] = {"metadata": {"name": "fast", "annotations": {DEFAULT_CLASS: "true"}}}


@pytest.mark.parametrize(
    ("classes", "waiting"),
    [([], ["speechless-artifacts"]), ([PLAIN], ["speechless-artifacts"]), ([PLAIN, DEFAULT], [])],
)
def test_a_claim_without_a_class_needs_a_default_one(classes: list[Any], waiting: list[str]) -> None:
    assert without_class(objects(MANIFESTS), classes) == waiting


def test_a_claim_that_names_its_class_needs_none() -> None:
    found = objects(MANIFESTS)
    for obj in found:
        if obj["kind"] == "PersistentVolumeClaim":
            obj["spec"]["storageClassName"] = "slow"
    assert without_class(found, [PLAIN]) == []


# ------------------------------------------------------------------------------------- a model and data of one's own

AWS = frozenset({"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"})


def sources(found: list[Any]) -> dict[str, Any]:
    """Where things come from, by who reads them."""
    by = {(each["kind"], each["metadata"]["name"]): each.get("spec", {}) for each in found}
    told = {"dataset": by["FineTune", "tuned"]["dataset"], "model": by["FineTune", "tuned"]["model"]}
    told["text"] = by["Quantization", "tuned-q8"]["verify"]["text"]
    for name in ("base", "tuned", "quantized"):
        (suite,) = by["Evaluation", name]["suites"]
        told |= {f"{name}/model": by["Evaluation", name]["model"], f"{name}/data": suite["data"]}
    return told


def test_a_model_and_data_take_the_place_of_the_demos() -> None:
    before = objects(MANIFESTS)
    given = Given("org/name@v1", "s3://b-b/rows", secret="bucket")
    found = given.changed(before, AWS)
    told, was = sources(found), sources(before)
    model = {"uri": "hf://org/name@v1"}
    assert told["model"] == told["base/model"] == model, "the hub takes none of the Secret's keys"
    assert told["dataset"] == {"uri": "s3://b-b/rows", "secretRef": {"name": "bucket"}}
    assert told["tuned/model"] == {"fineTune": {"name": "tuned"}}
    # The problems and the text are still those that the Job makes.
    for name in ("text", "base/data", "tuned/data", "quantized/data"):
        assert told[name] == was[name]
    assert ("Job", "inputs") in chain(found)
    assert before == objects(MANIFESTS), "what was read is not changed"
    assert resource_problems(found) == []


def test_with_everything_of_ones_own_the_job_is_not_needed() -> None:
    given = Given(
        "hf://org/name",
        "org/rows",
        "az://c-c/problems.jsonl",
        "pvc://claim/text.txt",
        storage="2Gi",
        config="main",
        split="train",
    )
    found = given.changed(objects(MANIFESTS))
    told = sources(found)
    assert told["dataset"] == {"uri": "hf://datasets/org/rows", "config": "main", "split": "train"}
    assert resource_problems(found) == []
    assert told["base/data"] == told["quantized/data"] == {"uri": "az://c-c/problems.jsonl"}
    assert told["text"] == {"uri": "pvc://claim/text.txt"}
    assert ("Job", "inputs") not in chain(found)
    assert len(chain(found)) == len(CHAIN) - 1
    (claim,) = [each for each in found if each["kind"] == "PersistentVolumeClaim"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "2Gi"
    pods = [each["spec"]["pod"] for each in found if "pod" in each.get("spec", {})]
    assert len(pods) == 6
    assert not any("limits" in pod["resources"] for pod in pods), "those suit the tiny model"
    assert resource_problems(found) == []


def resource_problems(found: list[Any]) -> list[str]:
    """What our kinds' schemas say against it."""
    ours = [each for each in found if each["apiVersion"].startswith("speechless.dev/")]
    assert len(ours) == 6
    return [problem for each in ours if (problem := resource_problem(each))]


@pytest.mark.parametrize(
    ("given", "keys", "said"),
    [
        (
            Given("/models/x", "s3://b-b/rows"),
            None,
            "/models/x is a path of this machine, and no pod sees it",
        ),
        (Given("org/name", "rows.jsonl"), None, "rows.jsonl is a path of this machine"),
        (Given("org/name", "file:///data/rows"), None, "file:///data/rows is a path of this machine"),
        (Given("ftp://x/y", "org/rows"), None, "ftp://x/y has the scheme 'ftp'"),
        (Given("org/name@a/b", "org/rows"), None, "what follows the revision's first slash is a path"),
        (
            Given("org/name", "org/rows", secret="mine"),
            AWS,
            "the Secret mine has no key that hf://org/name, hf://datasets/org/rows take",
        ),
        (Given("org/name", "org/rows", secret="mine"), frozenset(), "the Secret mine has no key"),
    ],
)
def test_what_pods_cannot_follow_is_told(given: Given, keys: frozenset[str] | None, said: str) -> None:
    with pytest.raises(DemoError, match=said):
        given.changed(objects(MANIFESTS), keys)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "org/name"], "MODEL and DATASET go together"),
        (["--secret", "x"], "SECRET has no effect without MODEL and DATASET"),
        (["--problems", "x"], "PROBLEMS has no effect without MODEL and DATASET"),
        (["--storage", "2Gi"], "STORAGE has no effect without MODEL and DATASET"),
    ],
)
def test_half_of_it_is_a_mistake(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["demo", "run", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_word_that_means_nothing_starts_no_cluster(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def begin(*_: object) -> None:
        pytest.fail("a cluster was started")

    monkeypatch.setattr("demo.places.Own.begin", begin)
    monkeypatch.setattr("sys.argv", ["demo", "run", "--model", "./here", "--dataset", "org/rows"])
    assert main() == 1
    assert "./here is a path of this machine" in " ".join(capsys.readouterr().out.split())


def test_make_passes_on_what_it_is_told(tmp_path: Path) -> None:
    shell = tmp_path / "sh"
    shell.write_text('#!/bin/sh\necho "$2"\n')
    shell.chmod(0o755)
    told = {"MODEL": "org/name", "DATASET": "s3://b/r", "PROBLEMS": "s3://b/p", "TEXT": "s3://b/t"}
    told |= {
        "DATASET_CONFIG": "main",
        "DATASET_SPLIT": "train[:10%]",
        "SECRET": "bucket",
        "STORAGE": "9Gi",
        "MINUTES": "90",
    }
    words = ["make", "demo", f"SHELL={shell}", *(f"{name}={value}" for name, value in told.items())]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    last = " ".join(done.stdout.split())
    assert all(f"--{name.lower()} '{value}'" in last for name, value in told.items())
