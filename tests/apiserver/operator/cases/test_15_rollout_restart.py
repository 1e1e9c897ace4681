"""kubectl rollout restart, scale, set image on our Deployment.

SeldonIO/seldon-core#4567, VictoriaMetrics/operator#1215. Expected: the restart happens and stays; what is
ours is put right; then it is quiet.
"""

from __future__ import annotations

import pytest

from tests.apiserver.operator import resources
from tests.apiserver.operator.cases import steps
from tests.apiserver.operator.kubelet import Kubelet
from tests.apiserver.operator.process import Operator
from tests.support.cluster import Cluster
from tests.support.kube import Kube, Object
from tests.support.wait import wait_condition, wait_object

pytestmark = pytest.mark.timeout(180)
RESTARTED = "kubectl.kubernetes.io/restartedAt"


def deployment(kube: Kube, namespace: str) -> Object:
    """The one that serves."""
    (found,) = kube.list("Deployment", namespace)
    return found


def template(found: Object) -> Object:
    """Its pods' template."""
    made: Object = found["spec"]["template"]
    return made


def test_a_restart_stays_and_drift_is_put_right(
    kube: Kube, cluster: Cluster, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    kube.create(resources.service("chat", namespace, steps.GGUF))
    steps.serve(kube, kubelet, "chat")
    made = deployment(kube, namespace)
    name, image = made["metadata"]["name"], template(made)["spec"]["containers"][0]["image"]
    on = ("-n", namespace)

    cluster.run("kubectl", "rollout", "restart", *on, f"deployment/{name}")
    kubelet.run(kubelet.pod("InferenceService", "chat", attempt=2), ready=True)
    wait_condition(kube, "InferenceService", "chat", namespace, "Ready")
    assert RESTARTED in template(deployment(kube, namespace))["metadata"]["annotations"]

    def becomes(what: str, ready: object) -> None:
        wait_object(kube, "Deployment", name, namespace, ready, what)  # type: ignore[arg-type]

    cluster.run("kubectl", "scale", *on, f"deployment/{name}", "--replicas=3")
    becomes("has one pod again", lambda d: d["spec"]["replicas"] == 1)
    cluster.run("kubectl", "set", "image", *on, f"deployment/{name}", "stage=evil:1")
    becomes("has its image again", lambda d: template(d)["spec"]["containers"][0]["image"] == image)
    cluster.run("kubectl", "set", "env", *on, f"deployment/{name}", "HOME=/evil")
    becomes(
        "has its variable again", lambda d: "/evil" not in str(template(d)["spec"]["containers"][0]["env"])
    )
    cluster.run("kubectl", "scale", *on, "inferenceservice.speechless.dev/chat", "--replicas=3")
    becomes("has the pods that the resource asks for", lambda d: d["spec"]["replicas"] == 3)

    quiet = deployment(kube, namespace)["metadata"]["generation"]
    steps.steady(
        lambda: deployment(kube, namespace)["metadata"]["generation"] == quiet, "it is quiet afterwards"
    )
    assert RESTARTED in template(deployment(kube, namespace))["metadata"]["annotations"]
    assert len(kube.list("Deployment", namespace)) == 1
    steps.assert_well(operator)
