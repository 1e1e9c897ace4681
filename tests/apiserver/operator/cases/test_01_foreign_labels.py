"""Objects that are not ours carry our labels.

upmc-enterprises/elasticsearch-operator#267, KusionStack/kuperator#245. Expected: they are ignored; at most
they concern their own namespace.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from speechless.contract import Progress, ProgressPhase
from tests.apiserver.operator import resources
from tests.apiserver.operator.cases import steps
from tests.apiserver.operator.cases.conftest import Another
from tests.apiserver.operator.kubelet import Kubelet, now, succeeded
from tests.apiserver.operator.process import running
from tests.support.cluster import Cluster
from tests.support.kube import Kube, Object
from tests.support.wait import wait_condition

pytestmark = pytest.mark.timeout(180)
LONG = "a" * 63
OURS = {steps.MANAGED_BY: steps.OPERATOR}


def labels(**of: str) -> dict[str, str]:
    """Our labels, as far as they are given."""
    return OURS | {f"speechless.dev/{key}": value for key, value in of.items()}


def pod_labels(victim: Object) -> dict[str, dict[str, str]]:
    """Labels that a stranger may give a pod; `victim` is a FineTune of another namespace."""
    uid = victim["metadata"]["uid"]
    return {
        "kind-alone": labels(kind="FineTune"),
        "managed-alone": labels(),
        "no-kind-of-ours": labels(kind="Deployment", name="x", uid="y"),
        "no-kind-at-all": labels(kind=LONG, name=LONG, uid=LONG),
        "empty": labels(kind="", name="", uid=""),
        "no-uid": labels(kind="FineTune", name="victim"),
        "no-name": labels(kind="FineTune", uid=uid),
        "nobody": labels(kind="FineTune", name="nobody", uid="00000000-0000-4000-8000-000000000000"),
        "of-another-namespace": labels(kind="FineTune", name="victim", uid=uid),
        "a-service": labels(kind="InferenceService", name="victim", uid=uid, revision=LONG),
    }


def hostile(namespace: str, victim: Object) -> list[Object]:
    """Objects of other kinds, each wrong in its own way."""
    absent = {"apiVersion": resources.API_VERSION, "kind": "FineTune", "name": "nobody", "uid": "no-uid"}
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "name": "theirs", "uid": "1", "controller": True}
    uid = victim["metadata"]["uid"]
    mine = labels(kind="FineTune", name="victim", uid=uid)

    def made(kind: str, api_version: str, name: str, of: dict[str, str], **more: Any) -> Object:
        meta = {"name": name, "namespace": namespace, "labels": of} | more.pop("meta", {})
        return {"apiVersion": api_version, "kind": kind, "metadata": meta} | more

    job = {"template": {"spec": steps.RESTRICTED | {"restartPolicy": "Never"}}, "suspend": True}
    served = {
        "replicas": 0,
        "selector": {"matchLabels": {"app": "x"}},
        "template": {"metadata": {"labels": {"app": "x"} | mine}, "spec": steps.RESTRICTED},
    }
    event = {"reason": "FailedCreate", "type": "Warning", "source": {"component": "me"}}
    about = {"kind": "Job", "name": "x", "namespace": namespace}
    return [
        made("ConfigMap", "v1", "huge", mine, data={"x": "y" * 900_000}),
        made("ConfigMap", "v1", "bare", OURS),
        made("ConfigMap", "v1", "owned", mine, meta={"ownerReferences": [theirs]}),
        made("Service", "v1", "bare", OURS, spec={"ports": [{"port": 1}]}),
        made("Service", "v1", "victim", mine, spec={"ports": [{"port": 1}], "selector": mine}),
        made("Job", "batch/v1", "bare", OURS, spec=job),
        made("Job", "batch/v1", "uncontrolled", mine, spec=job, meta={"ownerReferences": [absent]}),
        made("Deployment", "apps/v1", "bare", mine, spec=served),
        made("Event", "v1", "no-uid", {}, involvedObject=about, **event),
        made("Event", "v1", "no-times", {}, involvedObject=about | {"uid": uid}, **event),
        made("Event", "v1", "wordless", {}, involvedObject=about | {"uid": ""}, message="", **event),
    ]


def test_strangers_objects_change_nothing_for_their_neighbours(
    kube: Kube,
    crds: None,
    cluster: Cluster,
    namespace: str,
    another: Another,
    kubelet: Kubelet,
    tmp_path: Path,
) -> None:
    tenant = another("tenant")
    address = steps.free_address()
    flags = (f"--namespace={tenant}", "--resync-seconds=3")
    with running(cluster.kubeconfig, namespace, tmp_path, *flags) as operator:
        victim = kube.create(resources.fine_tune("victim", namespace))
        pod = kubelet.pod("FineTune", "victim")
        kubelet.run(pod, ip=address)
        wait_condition(kube, "FineTune", "victim", namespace, "Reconciling", reason="Running")
        strangers = _strangers(kube, tenant, victim)
        for obj in hostile(tenant, victim):
            kube.create(obj)
        said = succeeded("b", uri=steps.output(kube, pod)).termination_message()
        for stranger in strangers[::2]:
            Kubelet(kube, tenant).finish(stranger, said)

        # Whoever asks pods how far they are still does, and a neighbour's work goes on as ever.
        told = Progress(phase=ProgressPhase.WORKING, step=7, total_steps=10, percent=70)
        with steps.stage_at(address, told):
            steps.step_of(kube, "FineTune", "victim", namespace, 7)
        steps.works(kube, "other", namespace, resources.fine_tune("other", namespace))
        steps.works(kube, "theirs", tenant, resources.fine_tune("theirs", tenant))
        steps.assert_well(operator)
        ended = steps.succeed_running(kube, kubelet, "FineTune", "victim", pod)
        assert ended["status"]["artifact"]["digest"].startswith("sha256:a")
        assert LONG not in operator.get("/metrics")[1], "a stranger's label is no label of a metric"
        operator.stop()

    with running(cluster.kubeconfig, namespace, tmp_path, *flags) as again:
        again.wait_leading()
        steps.works(kube, "later", namespace, resources.fine_tune("later", namespace))
        steps.assert_well(again)


def _strangers(kube: Kube, tenant: str, victim: Object) -> list[Object]:
    """Pods of a stranger, running; each has the address of nobody."""
    made = []
    for name, found in pod_labels(victim).items():
        meta = {"name": f"stranger-{name}", "namespace": tenant, "labels": found}
        pod = kube.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": steps.RESTRICTED})
        Kubelet(kube, tenant).run(pod, ip=steps.free_address())
        made.append(pod)
    return made


def test_what_a_neighbour_in_the_namespace_makes_is_not_the_runs(
    kube: Kube, namespace: str, kubelet: Kubelet, crds: None, cluster: Cluster, tmp_path: Path
) -> None:
    """The authors of a namespace are one domain of trust; a mistake among them still is no word of the run's."""
    with running(cluster.kubeconfig, namespace, tmp_path) as operator:
        tuned = kube.create(resources.fine_tune("tuned", namespace))
        pod = kubelet.pod("FineTune", "tuned")
        kubelet.run(pod)
        wait_condition(kube, "FineTune", "tuned", namespace, "Reconciling", reason="Running")
        meta = {"name": "copied", "namespace": namespace, "labels": dict(pod["metadata"]["labels"])}
        meta["labels"] = {
            k: v for k, v in meta["labels"].items() if "job-name" not in k and "controller-uid" not in k
        }
        copied = kube.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": steps.RESTRICTED})
        killed = {"exitCode": 137, "reason": "OOMKilled", "startedAt": now(), "finishedAt": now()}
        steps.statuses(kube, copied, "Failed", steps.container({"terminated": killed}))

        steps.works(kube, "other", namespace, resources.fine_tune("other", namespace))
        seen = kube.get("FineTune", "tuned", namespace)
        assert seen["metadata"]["uid"] == tuned["metadata"]["uid"]
        assert "failure" not in seen["status"]
        assert seen["status"]["phase"] == "Running"
        job = kube.get("Job", pod["metadata"]["labels"]["job-name"], namespace)
        assert job["spec"]["backoffLimit"] == 3
        steps.assert_well(operator)


def test_a_job_that_claims_to_be_the_runs_is_told_or_ignored(
    kube: Kube, namespace: str, kubelet: Kubelet, crds: None, cluster: Cluster, tmp_path: Path
) -> None:
    with running(cluster.kubeconfig, namespace, tmp_path) as operator:
        tuned = kube.create(resources.fine_tune("tuned", namespace, suspend=True))
        wait_condition(kube, "FineTune", "tuned", namespace, "Ready", "False", reason="Suspended")
        owner = {
            "apiVersion": resources.API_VERSION,
            "kind": "FineTune",
            "name": "tuned",
            "uid": tuned["metadata"]["uid"],
            "controller": True,
        }
        meta = {
            "name": "claims",
            "namespace": namespace,
            "labels": labels(kind="FineTune", name="tuned", uid=tuned["metadata"]["uid"]),
            "ownerReferences": [owner],
        }
        spec = {"template": {"spec": steps.RESTRICTED | {"restartPolicy": "Never"}}, "suspend": True}
        kube.create({"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec})

        steps.works(kube, "other", namespace, resources.fine_tune("other", namespace))
        steps.assert_well(operator)
        kube.delete("Job", "claims", namespace, missing_ok=True)
        kube.patch("FineTune", "tuned", {"spec": {"suspend": False}}, namespace)
        steps.succeed(kube, kubelet, "FineTune", "tuned")
