"""What goes wrong is told by the resource itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chain.conftest import (
    CLAIM,
    HELDOUT,
    NAMESPACE,
    SYSTEM,
    Demo,
    artifact_path,
    conditions,
    ended,
    holds,
    manifests,
    run_demo,
)
from tests.support.cluster import Cluster
from tests.support.kube import ApiError, Kube
from tests.support.wait import wait_for, wait_gone

pytestmark = pytest.mark.timeout(900)
Make = Callable[..., dict[str, Any]]


def test_a_gate_that_fails_serves_nothing_and_says_which_number(make: Make, kube: Kube) -> None:
    make(
        "Evaluation",
        "quantized",
        "too-hard",
        suites=[HELDOUT],
        gates=[{"metric": "humaneval/pass@1", "min": 1.01}],
    )
    make(
        "InferenceService",
        "coder",
        "blocked",
        gate={"evaluations": [{"name": "too-hard"}], "policy": "Enforce"},
    )
    done = ended(kube, "Evaluation", "too-hard")
    assert conditions(done)["Passed"]["status"] == "False"

    def closed() -> dict[str, Any] | None:
        found = conditions(kube.get("InferenceService", "blocked", NAMESPACE)).get("GatePassed", {})
        return found if found.get("reason") == "GateFailed" else None

    gate = wait_for(closed, "the gate to say that it failed")
    assert gate["status"] == "False"
    assert "humaneval/pass@1" in gate["message"]
    assert "1.01" in gate["message"]
    service = kube.get("InferenceService", "blocked", NAMESPACE)
    assert not holds(service, "Ready")
    assert kube.find("Service", "blocked", NAMESPACE) is None, "nothing is served"


def test_a_bad_row_is_named_by_file_and_line(make: Make, kube: Kube, in_volume: Callable[..., str]) -> None:
    rows = [json.dumps({"prompt": "a", "completion": "b"})] * 6 + ['{"prompt": "a"}']
    in_volume("bad-row", f"open('/artifacts/bad.jsonl','w').write({chr(10).join(rows)!r})")
    make("FineTune", "tuned", "bad-row", dataset={"uri": f"pvc://{CLAIM}/bad.jsonl"})
    done = ended(kube, "FineTune", "bad-row")
    assert holds(done, "Failed")
    failure = done["status"]["failure"]
    assert failure["reason"] == "DatasetInvalid"
    assert "bad.jsonl:7" in failure["message"]
    assert failure["exitCode"] == 65
    assert failure["logTail"]
    assert "(attempt" not in failure["message"], "bad data is not tried again"


def test_an_altered_artifact_is_refused_by_its_digest(
    make: Make, kube: Kube, in_volume: Callable[..., str]
) -> None:
    make("Quantization", "tuned-q8", "to-alter", type="F16", verify=None)
    made = ended(kube, "Quantization", "to-alter")
    assert holds(made, "Succeeded"), made["status"]
    folder = artifact_path(made)
    in_volume(
        "alter",
        "import glob\n"
        f"f=open(glob.glob('{folder}/*.gguf')[0],'r+b')\n"
        "f.seek(-1,2); b=f.read(1); f.seek(-1,2); f.write(bytes([b[0]^1])); f.close()",
    )
    make("Evaluation", "quantized", "of-altered", model={"quantization": {"name": "to-alter"}}, gates=[])
    done = ended(kube, "Evaluation", "of-altered")
    assert holds(done, "Failed")
    assert done["status"]["failure"]["reason"] == "DigestMismatch"
    assert ".gguf" in done["status"]["failure"]["message"]


def test_the_operator_killed_while_training_changes_nothing(make: Make, kube: Kube) -> None:
    parameters = {"maxSteps": 60, "perDeviceTrainBatchSize": 16, "learningRate": 0.003, "maxLength": 128}
    make("FineTune", "tuned", "survivor", hyperparameters=parameters)

    def training() -> dict[str, Any] | None:
        found = kube.get("FineTune", "survivor", NAMESPACE).get("status", {})
        told = found.get("progress", {})
        return found if told.get("phase") == "Working" and told.get("step") else None

    before = wait_for(training, "progress to be told while it trains", timeout=120)
    for pod in kube.list("Pod", SYSTEM, labels="app.kubernetes.io/component=operator"):
        kube.delete("Pod", pod["metadata"]["name"], SYSTEM, grace=0)
    done = ended(kube, "FineTune", "survivor")
    assert holds(done, "Succeeded"), done["status"]
    run, earlier = done["status"]["run"], before["run"]
    assert (run["name"], run["attempt"]) == (earlier["name"], 1), "the same Job went on"
    for kind in ("Job", "ConfigMap"):
        wait_for(
            lambda kind=kind: not kube.list(kind, NAMESPACE, labels="speechless.dev/name=survivor"),
            f"the {kind} of the ended run to be gone",
        )


def test_delete_in_the_middle_leaves_nothing(make: Make, kube: Kube) -> None:
    make("FineTune", "tuned", "cut-short", hyperparameters={"numTrainEpochs": 50})

    def pods() -> list[dict[str, Any]]:
        return list(kube.list("Pod", NAMESPACE, labels="speechless.dev/name=cut-short"))

    wait_for(
        lambda: any(p["status"].get("phase") == "Running" for p in pods()), "its pod to run", timeout=120
    )
    kube.delete("FineTune", "cut-short", NAMESPACE)
    wait_gone(kube, "FineTune", "cut-short", NAMESPACE)
    wait_for(lambda: not pods(), "its pod to be gone", timeout=120)
    for kind in ("Job", "ConfigMap"):
        left = [
            o["metadata"]["name"] for o in kube.list(kind, NAMESPACE, labels="speechless.dev/name=cut-short")
        ]
        assert left == []


def test_a_string_reaches_the_engine_unchanged_and_no_shell(make: Make, kube: Kube, cluster: Cluster) -> None:
    name = "a b; $(touch /tmp/x) `id` \"quoted\" 'single' \\ $HOME &&"
    make("InferenceService", "coder", "strings", modelName=name)
    wait_for(
        lambda: holds(kube.get("InferenceService", "strings", NAMESPACE), "Ready"), "the service", timeout=120
    )
    path = f"/api/v1/namespaces/{NAMESPACE}/services/strings:80/proxy/v1/models"
    models = json.loads(cluster.run("kubectl", "get", "--raw", path))
    assert [m["id"] for m in models["data"]] == [name]


def test_an_unknown_field_is_refused_by_the_api_server(make: Make) -> None:
    with pytest.raises(ApiError, match="learningrate"):
        make("FineTune", "tuned", "unknown-field", hyperparameters={"learningrate": 0.1})


def test_a_fork_bomb_in_a_sample_is_put_out_by_the_limit_on_processes_alone(
    in_volume: Callable[..., str],
) -> None:
    # Here, because the unit tests often run as root, whom RLIMIT_NPROC does not hold.
    program = """
from speechless.eval.sandbox.model import Isolation, Limits
from speechless.eval.sandbox.pool import run

bare = Isolation(processes="kill", network="none", files="user")
limits = Limits(cpu_seconds=1)
print("bomb:", run("import os\\nwhile True: os.fork()", limits, bare).verdict.name)
print("after it:", run("x = 1", limits, bare).verdict.name)
"""
    said = in_volume("fork-bomb", program, image="localhost/speechless/eval:dev")
    assert said.splitlines() == ["bomb: FAILED", "after it: PASSED"]


def test_a_failed_demo_prints_the_resources_own_diagnosis_and_says_so_by_its_status(
    demo: Demo, kube: Kube, tmp_path: Path
) -> None:
    # The last test of the folder: it leaves the demo with a gate that nothing passes.
    objects = manifests()
    (gated,) = [o for o in objects if o["kind"] == "Evaluation" and o["metadata"]["name"] == "quantized"]
    gated["spec"]["gates"][0]["min"] = 1.01
    (tmp_path / "demo.yaml").write_text(yaml.safe_dump_all(objects))
    kube.delete("Evaluation", "quantized", NAMESPACE)  # a spec does not change under its result
    wait_gone(kube, "Evaluation", "quantized", NAMESPACE)
    failed = run_demo("run", "--minutes", "10", "--manifests", str(tmp_path))
    assert failed.status == 1, failed.screen
    assert "An answer" not in failed.screen
    told = failed.screen[failed.screen.index("demo: ") :]
    assert "InferenceService coder: " in told
    assert re.search(r"GatePassed=False \(GateFailed\): .*humaneval/pass@1 \S+ < 1\.01", told), told
    assert "kubectl -n speechless-demo describe" in told
