"""`make demo`, and what it leaves to look at."""

from __future__ import annotations

import re

import pytest

from tests.chain.conftest import NAMESPACE, Demo, conditions, ended, holds, manifests
from tests.support.cluster import Cluster
from tests.support.kube import Kube
from tests.support.wait import wait_for, wait_gone

pytestmark = pytest.mark.timeout(2400)
KINDS = ("FineTune", "Evaluation", "Quantization", "InferenceService")


def _score(kube: Kube, name: str) -> float:
    metrics = kube.get("Evaluation", name, NAMESPACE)["status"]["metrics"]
    return float(next(m["value"] for m in metrics if m["name"] == "humaneval/pass@1"))


def test_the_demo_ends_with_an_answer_and_its_numbers(demo: Demo, kube: Kube) -> None:
    assert "What came out" in demo.screen
    assert re.search(r"return \S*\(\[.* for x in xs.*\]\)\n", demo.screen), (
        "the model's answer is a function's body"
    )
    assert "Where to look next" in demo.screen
    base, tuned, small = _score(kube, "base"), _score(kube, "tuned"), _score(kube, "quantized")
    assert base <= 0.1, "the base model has not learned the tasks"
    assert tuned >= 0.5, "fine-tuning visibly helps"
    assert small >= 0.5


def test_digests_tie_the_chain_together(demo: Demo, kube: Kube) -> None:
    def status(kind: str, name: str) -> dict:
        return kube.get(kind, name, NAMESPACE)["status"]

    def model(of: dict) -> str:
        return next(i["digest"] for i in of["inputs"] if i["name"] == "model")

    tuned, small = status("FineTune", "tuned"), status("Quantization", "tuned-q8")
    assert model(status("Evaluation", "tuned")) == tuned["artifact"]["digest"]
    assert model(small) == tuned["artifact"]["digest"]
    assert model(status("Evaluation", "quantized")) == small["artifact"]["digest"]
    assert model(status("InferenceService", "coder")) == small["artifact"]["digest"]
    assert small["artifact"]["sizeBytes"] < tuned["artifact"]["sizeBytes"] / 2
    assert model(status("Evaluation", "base")) == model(tuned)


def test_every_resource_tells_kstatus_what_it_is(demo: Demo, kube: Kube, cluster: Cluster) -> None:
    for obj in manifests():
        if obj["kind"] in KINDS:
            found = kube.get(obj["kind"], obj["metadata"]["name"], NAMESPACE)
            assert holds(found, "Ready"), obj["metadata"]["name"]
            assert "Reconciling" not in conditions(found)
            assert "Stalled" not in conditions(found)
            assert found["status"]["observedGeneration"] == found["metadata"]["generation"]
    waits = ["kubectl", "-n", NAMESPACE, "wait", "--timeout=10s"]
    cluster.run(*waits, "--for=condition=Succeeded", "finetune/tuned", "quantization/tuned-q8")
    cluster.run(*waits, "--for=condition=Passed", "evaluation/quantized")
    cluster.run(*waits, "--for=condition=Ready", "inferenceservices.speechless.dev/coder")
    table = cluster.run("kubectl", "-n", NAMESPACE, "get", "ft,slev,slq,slis")
    assert "tuned-q8" in table


def test_the_same_in_reverse_order_by_apply_alone(demo: Demo, kube: Kube) -> None:
    ours = [obj for obj in manifests() if obj["kind"] in KINDS]
    before = kube.get("FineTune", "tuned", NAMESPACE)["status"]["artifact"]
    for obj in ours:
        kube.delete(obj["kind"], obj["metadata"]["name"], NAMESPACE)
    for obj in ours:
        wait_gone(kube, obj["kind"], obj["metadata"]["name"], NAMESPACE)
    wait_for(
        lambda: not kube.list("Pod", NAMESPACE, labels="app.kubernetes.io/managed-by=speechless-operator"),
        "the pods to be collected",
    )
    for obj in reversed(ours):
        kube.create(obj)
    # What waits says for what.
    service = wait_for(
        lambda: conditions(kube.get("InferenceService", "coder", NAMESPACE)).get("Ready"), "a first status"
    )
    assert "tuned-q8" in service["message"]
    for obj in ours:
        if obj["kind"] != "InferenceService":
            done = ended(kube, obj["kind"], obj["metadata"]["name"], seconds=900)
            assert holds(done, "Succeeded"), done["status"]
    wait_for(
        lambda: holds(kube.get("InferenceService", "coder", NAMESPACE), "Ready"), "the service", timeout=120
    )
    again = kube.get("FineTune", "tuned", NAMESPACE)["status"]
    assert again["artifact"] == before, "the same content is the same run"
    assert next(c for c in again["conditions"] if c["type"] == "Ready")["reason"] == "Reused"


def test_the_same_spec_under_another_name_makes_the_same_bytes(demo: Demo, kube: Kube) -> None:
    (tuned,) = [o for o in manifests() if o["kind"] == "FineTune"]
    twin = tuned | {"metadata": tuned["metadata"] | {"name": "twin"}}
    kube.create(twin)
    done = ended(kube, "FineTune", "twin", seconds=600)
    first = kube.get("FineTune", tuned["metadata"]["name"], NAMESPACE)["status"]["artifact"]
    kube.delete("FineTune", "twin", NAMESPACE)
    assert done["status"]["artifact"]["digest"] == first["digest"]
    assert done["status"]["artifact"]["uri"] != first["uri"]
