"""The generated CRDs before a real API server: every rule refuses what it should, and says what to do."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from speechless.contract.objectives import objective_rules
from speechless.contract.training import training_rules
from speechless_operator.api.base import VALIDATIONS
from speechless_operator.crd import all_crds
from speechless_operator.plan.drift import covers
from tests.apiserver.operator import pod_cases, resources
from tests.support.cluster import ROOT, Cluster
from tests.support.kube import ApiError, Kube, Object

pytestmark = pytest.mark.usefixtures("crds")
DIGEST = "sha256:" + "0" * 64
REMOVE = object()


def valid(kind: str, namespace: str = "") -> Object:
    """A resource that is accepted, with as many fields set as fit together."""
    suites = [
        {
            "name": "humaneval",
            "type": "HumanEval",
            "data": {"uri": "pvc://models/t.jsonl"},
            "samplesPerTask": 5,
            "k": [1, 5],
            "temperature": 0.8,
        },
        {"name": "text", "type": "Perplexity", "data": {"uri": "pvc://models/t.txt", "digest": DIGEST}},
    ]
    gates = [{"metric": "humaneval/pass@1", "min": 0.5, "max": 1}, {"metric": "text/perplexity", "max": 20}]
    made = {
        "FineTune": resources.fine_tune(
            "x",
            namespace,
            dataset={"uri": "pvc://models/rows.jsonl", "format": "Messages"},
            lora={"r": 8},
            output={"uri": "pvc://other/place"},
            backoffLimit=1,
            pod=pod_cases.every_setting(),
        ),
        "Evaluation": resources.evaluation(
            "x", namespace, {"fineTune": {"name": "t"}}, suites=suites, gates=gates
        ),
        "Quantization": resources.quantization(
            "x", namespace, "t", verify={"text": {"uri": "pvc://models/t.txt"}}
        ),
        "InferenceService": resources.service(
            "x",
            namespace,
            {"uri": "pvc://models/m.gguf", "digest": DIGEST},
            "e",
            engineArgs=["--temp", "0.2"],
        ),
    }
    return copy.deepcopy(made[kind])


def changed(obj: Object, path: str, value: Any) -> Object:
    """The object with the value at a dotted path below spec (or from metadata), numbers being indices."""
    parts = path.split(".")
    node: Any = obj if parts[0] == "metadata" else obj["spec"]
    for part in parts[:-1]:
        node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
    if value is REMOVE:
        del node[parts[-1]]
    else:
        node[parts[-1]] = value
    return obj


@pytest.mark.parametrize("kind", ["FineTune", "Evaluation", "Quantization", "InferenceService"])
def test_what_is_valid_is_accepted_and_kept_as_it_is(kube: Kube, namespace: str, kind: str) -> None:
    obj = valid(kind, namespace)

    created = kube.create(obj)

    assert covers(created["spec"], obj["spec"])
    again = kube.apply(obj, force=True)
    assert again["metadata"]["generation"] == 1, "applying the same again changes nothing"


REFUSED = {
    "no model source": ("FineTune", "model", {}, "set exactly one of uri, fineTune and quantization"),
    "two model sources": ("Evaluation", "model.uri", "pvc://m/x", "set exactly one of uri, fineTune and quantization"),
    "a digest beside a reference": ("Evaluation", "model.digest", DIGEST, "remove digest"),
    "waiting for a reference": ("Evaluation", "model.waitSeconds", 5, "remove waitSeconds"),
    "a scheme that does not work": ("FineTune", "model.uri", "ftp://host/x", "spec.model.uri"),
    "a bucket without a name": ("FineTune", "model.uri", "s3:///x", "must be `pvc://<claim>/<path>`"),
    "a hub without a name": ("FineTune", "model.uri", "hf://organization", "`hf://<organization>/<name>@<revision>`"),
    "a Secret beside a reference": ("Evaluation", "model.secretRef", {"name": "x"}, "secretRef goes with uri"),
    "patterns of a claim's path": (
        "FineTune",
        "model",
        {"uri": "pvc://m/x", "include": ["*.json"]},
        "pvc://, image:// and file:// are read where they are",
    ),
    "patterns of a claim's data": (
        "FineTune",
        "dataset",
        {"uri": "pvc://m/x", "exclude": ["*.json"]},
        "pvc://, image:// and file:// are read where they are",
    ),
    "patterns of a reference": ("Evaluation", "model.include", ["*.json"], "include and exclude go with uri"),
    "a split that is none": ("FineTune", "dataset.split", "a/b", "spec.dataset.split"),
    "a claim without a path": ("FineTune", "model.uri", "pvc://claim", "must be `pvc://<claim>/<path>`"),
    "a path upwards": ("FineTune", "dataset.uri", "pvc://claim/../x", "without `..`"),
    "a path that ends upwards": ("FineTune", "dataset.uri", "pvc://claim/x/..", "without `..`"),
    "a claim's name in capitals": ("FineTune", "output.uri", "pvc://Claim/x", "must be `pvc://<claim>/<path>`"),
    "a reference's name that cannot be": ("Evaluation", "model.fineTune.name", "No_Name", "spec.model.fineTune.name"),
    "training what is quantized": ("FineTune", "model", {"quantization": {"name": "q"}}, "cannot be trained"),
    "quantizing what is quantized": ("Quantization", "model", {"quantization": {"name": "q"}}, "not quantized again"),
    "an unknown type": ("Quantization", "type", "Q3", 'supported values: "F16", "Q8_0", "Q4_K_M"'),
    "a learning rate of 0": ("FineTune", "hyperparameters.learningRate", 0, "greater than 0"),
    "a variable with two values": ("FineTune", "pod.env.1.value", "x", "exactly one of value and valueFrom"),
    "a variable without a value": ("FineTune", "pod.env.0.value", REMOVE, "exactly one of value and valueFrom"),
    "k above the number of samples": ("Evaluation", "suites.0.k", [6], "no k may exceed samplesPerTask"),
    "greedy samples": ("Evaluation", "suites.0.temperature", 0, "needs a temperature above 0"),
    "options of another suite": ("Evaluation", "suites.1.maxTokens", 5, "are no options of type Perplexity"),
    "two suites of a name": ("Evaluation", "suites.1.name", "humaneval", "Duplicate value"),
    "no suite": ("Evaluation", "suites", [], "should have at least 1 items"),
    "code without agreement": ("Evaluation", "allowCodeExecution", False, "set allowCodeExecution: true"),
    "a gate without bounds": ("Evaluation", "gates.1.max", REMOVE, "set min, max or both"),
    "a gate that nothing passes": ("Evaluation", "gates.0.max", 0.1, "min lies above max"),
    "a gate before an unknown artifact": ("InferenceService", "model.digest", REMOVE, "set model.digest"),
    "an argument that is ours": ("InferenceService", "engineArgs", ["--host", "::"], "are set by the operator"),
    "an argument that is ours, with =": ("InferenceService", "engineArgs", ["--model=x"], "are set by the operator"),
    "an argument that is another model": ("InferenceService", "engineArgs", ["--lora", "x"], "which model answers"),
    "the same with =": ("InferenceService", "engineArgs", ["--seed", "-1", "--mmproj=x"], "Allowed for LlamaCpp: --th"),
    "an engine that is not offered": ("InferenceService", "engine", "Transformers", 'supported values: "LlamaCpp"'),
    "a queue's name that cannot be": ("FineTune", "queueName", "a_b", "spec.queueName"),
    "an output whose artifact would have too long a name": (
        "FineTune", "output.uri", "pvc://other/" + "x" * 501, "Too long: may not be more than 512"
    ),
    "a gate without evaluations": ("InferenceService", "gate.evaluations", [], "should have at least 1 items"),
    "an unknown field": ("InferenceService", "replica", 2, 'unknown field "spec.replica"'),
    "a long name": ("FineTune", "metadata.name", "x" * 41, "40 characters at most"),
    "a name that begins with a digit": ("InferenceService", "metadata.name", "1x", "must begin with a letter"),
    "a negative patience": ("FineTune", "backoffLimit", -1, "greater than or equal to 0"),
    **pod_cases.REFUSED,
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_refused_with_what_to_do(kube: Kube, namespace: str, case: str) -> None:
    kind, path, value, message = REFUSED[case]

    with pytest.raises(ApiError) as refused:
        kube.create(changed(valid(kind, namespace), path, value), dry_run=True)

    assert message in str(refused.value)
    assert refused.value.code in (400, 422)


FIXED = [
    ("FineTune", "model.uri", "pvc://models/other"),
    ("FineTune", "dataset.maxSamples", 5),
    ("FineTune", "hyperparameters.seed", 1),
    ("FineTune", "lora", REMOVE),
    ("FineTune", "output", REMOVE),
    ("FineTune", "pod.resources.limits", {}),
    ("FineTune", "activeDeadlineSeconds", 60),
    ("FineTune", "backoffLimit", 2),
    ("Evaluation", "gates", []),
    ("Evaluation", "suites.0.limit", 3),
    ("Quantization", "type", "F16"),
    ("Quantization", "verify", REMOVE),
]


@pytest.mark.parametrize(("kind", "path", "value"), FIXED)
def test_a_run_is_fixed_once_it_exists(kube: Kube, namespace: str, kind: str, path: str, value: Any) -> None:
    created = kube.create(valid(kind, namespace))

    with pytest.raises(ApiError) as refused:
        kube.replace(changed(created, path, value))

    field = path.split(".", maxsplit=1)[0]
    assert f"spec.{field}: " in str(refused.value)
    article = "an" if kind == "Evaluation" else "a"
    assert f"{field} cannot change: {article} {kind} is one run, and its spec is immutable." in str(
        refused.value
    )


@pytest.mark.parametrize("kind", ["FineTune", "Evaluation", "Quantization"])
def test_when_it_runs_and_how_long_it_stays_may_change(kube: Kube, namespace: str, kind: str) -> None:
    kube.create(valid(kind, namespace))

    kube.patch(kind, "x", {"spec": {"suspend": True, "ttlSecondsAfterFinished": 5}}, namespace)
    kube.patch(kind, "x", {"spec": {"ttlSecondsAfterFinished": None}}, namespace)
    relabelled = kube.patch(kind, "x", {"metadata": {"labels": {"a": "b"}}}, namespace)

    assert relabelled["metadata"]["labels"] == {"a": "b"}


def test_a_service_may_change(kube: Kube, namespace: str) -> None:
    kube.create(valid("InferenceService", namespace))

    changes = {"model": {"uri": None, "digest": None, "fineTune": {"name": "t"}}, "parallel": 4, "gate": None}

    assert kube.patch("InferenceService", "x", {"spec": changes}, namespace)["spec"]["parallel"] == 4


def test_defaults_are_written_into_the_resource(kube: Kube, namespace: str) -> None:
    spec = kube.create(resources.fine_tune("x", namespace))["spec"]

    assert (spec["method"], spec["objective"], spec["merge"], spec["backoffLimit"]) == (
        "LoRA",
        "SFT",
        True,
        3,
    )
    assert spec["hyperparameters"]["perDeviceTrainBatchSize"] == 4
    assert "learningRate" not in spec["hyperparameters"], "its default depends on the method"


def test_every_rule_is_tried_here() -> None:
    def rules(node: Any) -> set[str]:
        found = {rule["message"] for rule in node.get(VALIDATIONS, [])} if isinstance(node, dict) else set()
        children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        return found.union(*(rules(child) for child in children))

    said = rules(list(all_crds().values()))
    tried = [message for _, _, _, message in REFUSED.values()]
    tried += ["cannot change: a"]
    tried += [rule.message for rule in (*objective_rules(), *training_rules())]  # by test_objectives.py
    untried = {message for message in said if not any(part in message for part in tried)}
    assert untried == set()


def test_scale_names_the_pods(kube: Kube, namespace: str) -> None:
    kube.create(valid("InferenceService", namespace))
    scale = kube.request(
        "GET", f"/apis/speechless.dev/v1alpha1/namespaces/{namespace}/inferenceservices/x/scale"
    )
    assert scale["spec"]["replicas"] == 1


def test_kubectl_knows_names_columns_and_explanations(
    cluster: Cluster, kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # kubectl remembers for hours which kinds an address serves; a category it does not know makes it ask nobody.
    monkeypatch.setenv("KUBECACHEDIR", str(tmp_path))
    for kind in ("FineTune", "Evaluation", "Quantization", "InferenceService"):
        kube.create(valid(kind, namespace))

    together = cluster.run("kubectl", "get", "speechless", "-n", namespace)
    assert all(
        f"{name}.speechless.dev/x" in together
        for name in ("finetune", "evaluation", "quantization", "inferenceservice")
    )
    for short, column in (("ft", "METHOD"), ("slev", "PASSED"), ("slq", "BYTES"), ("slis", "URL")):
        assert column in cluster.run("kubectl", "get", short, "-n", namespace)
    told = cluster.run("kubectl", "explain", "finetune.spec.hyperparameters.learningRate")
    assert "SFT 2e-5" in told


def test_the_demos_manifests_are_accepted(kube: Kube, namespace: str) -> None:
    seen = 0
    for path in sorted((ROOT / "examples").rglob("*.yaml")):
        for obj in yaml.safe_load_all(path.read_text()):
            if obj and obj.get("apiVersion") == resources.API_VERSION:
                obj["metadata"]["namespace"] = namespace
                kube.create(obj, dry_run=True)
                seen += 1
    assert seen
