"""Upgrade, rollback, upgrade, live: both versions' operators in turn over the same resources, with today's CRDs.

Nothing that runs is restarted, nothing that serves goes away, and what is said stays true.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.apiserver.operator import resources
from tests.apiserver.operator.cases import steps
from tests.apiserver.operator.kubelet import Kubelet
from tests.apiserver.operator.process import Operator, running
from tests.skew.process import running_old
from tests.support.cluster import Cluster
from tests.support.kube import Kube, Object
from tests.support.wait import wait_condition, wait_object

pytestmark = pytest.mark.timeout(420)
Run = Callable[[Path, str, Path], AbstractContextManager[Operator]]
VERSIONS: dict[str, Run] = {"before": running_old, "today": running}
SMALL = {"quantization": {"name": "small"}}
STAYS = ("artifact", "servingRevision", "url", "job", "inputs", "startTime", "completionTime")


def make(kube: Kube, namespace: str, kubelet: Kubelet) -> dict[str, Object]:
    """One resource in every state that an operator may find; the pods that must live on, by resource."""
    kube.create(resources.fine_tune("ended", namespace))
    kube.create(resources.fine_tune("bad", namespace, backoffLimit=0))
    kube.create(resources.fine_tune("runs", namespace, hyperparameters={"seed": 7}))
    kube.create(resources.fine_tune("waits", namespace, model={"fineTune": {"name": "nobody"}}))
    kube.create(resources.fine_tune("sleeps", namespace, suspend=True))
    kube.create(resources.quantization("small", namespace, "ended"))
    kube.create(resources.evaluation("scored", namespace, SMALL))
    kube.create(resources.service("chat", namespace, SMALL, "scored"))
    steps.succeed(kube, kubelet, "FineTune", "ended")
    kubelet.finish(kubelet.pod("FineTune", "bad"), "", exit_code=1)
    wait_condition(kube, "FineTune", "bad", namespace, "Failed")
    steps.succeed(kube, kubelet, "Quantization", "small", "b", form="GGUF")
    score = {"humaneval/pass@1": 0.9}
    steps.succeed(kube, kubelet, "Evaluation", "scored", "c", form="Report", inputs={"model": "b"}, **score)
    steps.serve(kube, kubelet, "chat")
    runs = kubelet.pod("FineTune", "runs")
    kubelet.run(runs)
    wait_condition(kube, "FineTune", "runs", namespace, "Reconciling", reason="Running")
    (chat,) = steps.of(kube, "InferenceService", "chat", namespace, "Pod")
    return {"runs": runs, "chat": chat}


def picture(kube: Kube, namespace: str, pods: dict[str, Object]) -> dict[str, Any]:
    """What must be the same whoever looks after it."""
    chat = kube.get("InferenceService", "chat", namespace)
    serving = next(
        d
        for d in kube.list("Deployment", namespace)
        if d["metadata"]["labels"]["speechless.dev/revision"] == chat["status"]["servingRevision"]
    )
    job = kube.get("Job", pods["runs"]["metadata"]["labels"]["job-name"], namespace)
    selector = kube.get("Service", "chat", namespace)["spec"]["selector"]
    found: dict[str, Any] = {
        "serving": (serving["metadata"]["uid"], serving["spec"]["template"], serving["spec"]["replicas"]),
        "job": (job["metadata"]["uid"], job["metadata"]["generation"]),
        "pods": {name: _living(kube, pod) for name, pod in pods.items()},
        "selected": selector.items() <= pods["chat"]["metadata"]["labels"].items(),
        "available": steps.holds(chat, "Available"),
    }
    for kind, name in (
        ("FineTune", "ended"),
        ("FineTune", "bad"),
        ("Quantization", "small"),
        ("Evaluation", "scored"),
    ):
        status = kube.get(kind, name, namespace)["status"]
        said = [c for c in status["conditions"] if c["type"] in ("Succeeded", "Failed", "Passed")]
        found[name] = (
            [{k: v for k, v in c.items() if k != "observedGeneration"} for c in said],
            {key: status[key] for key in STAYS if key in status},
        )
    for name in ("runs", "waits", "sleeps"):
        found[name] = kube.get("FineTune", name, namespace)["status"]["phase"]
    # Not its phase: the version before names a revision otherwise, and begins another beside what serves.
    found["chat"] = {key: chat["status"].get(key) for key in ("artifact", "servingRevision", "url")}
    return found


def _living(kube: Kube, pod: Object) -> bool:
    found = kube.find("Pod", pod["metadata"]["name"], pod["metadata"]["namespace"])
    return bool(found and found["metadata"]["uid"] == pod["metadata"]["uid"] and _not_going(found))


def _not_going(pod: Object) -> bool:
    return "deletionTimestamp" not in pod["metadata"]


def looked_at_all(kube: Kube, namespace: str, turn: int) -> None:
    """Until the operator has seen everything: what it is asked anew it answers after what it found."""
    for name in ("ended", "bad", "runs", "waits", "sleeps"):
        patch = {"spec": {"ttlSecondsAfterFinished": 86_400 + turn}}
        generation = kube.patch("FineTune", name, patch, namespace)["metadata"]["generation"]
        wait_object(
            kube,
            "FineTune",
            name,
            namespace,
            lambda o, wanted=generation: o.get("status", {}).get("observedGeneration") == wanted,
            "is observed",
        )
    mark = resources.fine_tune(f"mark-{turn}", namespace, hyperparameters={"seed": 100 + turn})
    steps.works(kube, f"mark-{turn}", namespace, mark)


@pytest.mark.parametrize(
    "turns",
    [("before", "today", "before", "today"), ("today", "before", "today")],
    ids=["upgrade, rollback, upgrade", "rollback, upgrade"],
)
def test_nothing_changes_hands_but_the_lease(
    kube: Kube,
    crds: None,
    cluster: Cluster,
    namespace: str,
    kubelet: Kubelet,
    tmp_path: Path,
    turns: tuple[str, ...],
) -> None:
    pods: dict[str, Object] = {}
    first: dict[str, Any] = {}
    for turn, version in enumerate(turns):
        with VERSIONS[version](cluster.kubeconfig, namespace, tmp_path) as operator:
            operator.wait_leading()
            if not pods:
                pods = make(kube, namespace, kubelet)
            looked_at_all(kube, namespace, turn)
            seen = picture(kube, namespace, pods)
            first = first or seen
            assert seen == first, f"turn {turn}: {version}"
            steps.assert_well(operator)
            if turn + 1 < len(turns):
                assert operator.stop() == 0
            else:
                _to_the_end(kube, namespace, kubelet, pods)


def _to_the_end(kube: Kube, namespace: str, kubelet: Kubelet, pods: dict[str, Object]) -> None:
    """What ran all the time ends well; what waited and slept goes on; what serves can be scaled and changed."""
    steps.succeed_running(kube, kubelet, "FineTune", "runs", pods["runs"])
    kube.patch("FineTune", "sleeps", {"spec": {"suspend": False}}, namespace)
    steps.succeed(kube, kubelet, "FineTune", "sleeps")
    kube.create(resources.fine_tune("nobody", namespace))
    steps.succeed(kube, kubelet, "FineTune", "nobody", "d")
    steps.succeed(kube, kubelet, "FineTune", "waits", "e")
    before = kube.get("InferenceService", "chat", namespace)["status"]["servingRevision"]
    kube.patch("InferenceService", "chat", {"spec": {"contextLength": 4096}}, namespace)
    kubelet.run(kubelet.pod("InferenceService", "chat", attempt=2), ready=True)
    wait_object(
        kube,
        "InferenceService",
        "chat",
        namespace,
        lambda o: o["status"]["servingRevision"] != before and steps.holds(o, "Ready"),
        "serves its new revision",
    )
