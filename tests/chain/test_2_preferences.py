"""Preference after supervised fine-tuning: a FineTune that starts from the artifact of another."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from speechless.contract import MANIFEST_NAME
from tests.chain.conftest import CLAIM, HELDOUT, NAMESPACE, artifact_path, ended, holds
from tests.support.kube import Kube

pytestmark = pytest.mark.timeout(900)

# Of two answers to the demo's own prompts, the better one is the row's; the worse one does nothing.
PAIRS = """
import json
from pathlib import Path
rows = [json.loads(line) for line in Path("/artifacts/inputs/train.jsonl").open()][:64]
pairs = [
    {"prompt": row["prompt"], "chosen": row["completion"], "rejected": "    pass\\n"} for row in rows
]
Path("/artifacts/pairs.jsonl").write_text("".join(json.dumps(pair) + "\\n" for pair in pairs))
"""


def test_dpo_after_sft(
    make: Callable[..., dict[str, Any]], kube: Kube, in_volume: Callable[..., str]
) -> None:
    in_volume("pairs", PAIRS)
    make(
        "FineTune",
        "tuned",
        "preferred",
        model={"fineTune": {"name": "tuned"}},
        dataset={"uri": f"pvc://{CLAIM}/pairs.jsonl", "format": "Preference"},
        objective="DPO",
        dpo={"beta": 0.1},
        hyperparameters={
            "maxSteps": 12,
            "perDeviceTrainBatchSize": 8,
            "learningRate": 0.0005,
            "maxLength": 128,
        },
    )
    done = ended(kube, "FineTune", "preferred")
    assert holds(done, "Succeeded"), done["status"]
    status = done["status"]
    before = kube.get("FineTune", "tuned", NAMESPACE)["status"]["artifact"]
    inputs = {one["name"]: one for one in status["inputs"]}
    assert inputs["model"]["digest"] == before["digest"], "it starts from what the other one made"
    metrics = {one["name"]: one["value"] for one in status["metrics"]}
    assert metrics["train/reward_accuracy"] > 0.9
    assert metrics["train/reward_margin"] > 0
    file = artifact_path(done) / MANIFEST_NAME
    manifest = json.loads(in_volume("read-manifest", f"print(open({str(file)!r}).read())"))
    assert manifest["parameters"]["objective"] == "DPO"
    assert manifest["digest"] != before["digest"]
    # What was preferred is a model like any other.
    make(
        "Evaluation",
        "quantized",
        "preferred-score",
        model={"fineTune": {"name": "preferred"}},
        suites=[HELDOUT],
        gates=[],
    )
    scored = ended(kube, "Evaluation", "preferred-score")
    assert holds(scored, "Succeeded"), scored["status"]
    assert 0 <= {m["name"]: m["value"] for m in scored["status"]["metrics"]}["humaneval/pass@1"] <= 1
