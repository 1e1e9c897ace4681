"""Steps that several cases take."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from speechless.contract import Progress, StageResult
from speechless.contract.progress import PORT
from tests.apiserver.operator.kubelet import Kubelet, succeeded
from tests.apiserver.operator.process import Operator
from tests.support.explain import condition
from tests.support.kube import ApiError, Kube, Object
from tests.support.wait import wait_condition, wait_for, wait_object

MANAGED_BY = "app.kubernetes.io/managed-by"
OPERATOR = "speechless-operator"
GGUF = {"uri": "pvc://models/chat.gguf"}
RESTRICTED = {
    "automountServiceAccountToken": False,
    "securityContext": {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    },
    "containers": [
        {
            "name": "stage",
            "image": "registry.invalid/x:test",
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
    ],
}
"""A pod spec that passes Pod Security `restricted`."""


def text(obj: Object | None, kind: str = "Ready") -> str:
    """A condition in a line; empty where it is absent."""
    found = condition(obj, kind)
    return f"{kind}={found['status']} {found['reason']}: {found['message']}" if found else ""


def said(kube: Kube, kind: str, name: str, namespace: str, type_: str = "Ready") -> str:
    """A resource's condition in a line; empty where either is absent."""
    return text(kube.find(kind, name, namespace), type_)


def holds(obj: Object | None, kind: str) -> bool:
    """Whether a condition is True."""
    return (condition(obj, kind) or {}).get("status") == "True"


def of(kube: Kube, kind: str, name: str, namespace: str, children: str) -> list[Object]:
    """The children of one kind of a resource that are not about to go."""
    labels = f"speechless.dev/kind={kind},speechless.dev/name={name}"
    found = kube.list(children, namespace, labels=labels)
    return [child for child in found if "deletionTimestamp" not in child["metadata"]]


def mounted(kube: Kube, pod: Object) -> Object:
    """The stage spec that a pod mounts."""
    (name,) = (v["configMap"]["name"] for v in pod["spec"]["volumes"] if "configMap" in v)
    found: Object = json.loads(
        kube.get("ConfigMap", name, pod["metadata"]["namespace"])["data"]["stage.json"]
    )
    return found


def output(kube: Kube, pod: Object) -> str:
    """Where a pod was told to publish."""
    return str(mounted(kube, pod)["output"])


def published(kube: Kube, pod: Object, digest: str = "a", **how: Any) -> StageResult:
    """What a stage says that published where it was told to."""
    return succeeded(digest, uri=output(kube, pod), **how)


def succeed(kube: Kube, kubelet: Kubelet, kind: str, name: str, digest: str = "a", **how: Any) -> Object:
    """Let the run of a resource that exists go well; the resource."""
    pod = kubelet.pod(kind, name)
    kubelet.finish(pod, published(kube, pod, digest, **how))
    return wait_condition(kube, kind, name, kubelet.namespace, "Succeeded", unless="Failed")


def serve(kube: Kube, kubelet: Kubelet, name: str, *, attempt: int = 1) -> Object:
    """Let a pod of an InferenceService get ready; the service, Ready and with its address."""
    kubelet.run(kubelet.pod("InferenceService", name, attempt=attempt), ready=True)
    served = wait_condition(kube, "InferenceService", name, kubelet.namespace, "Ready")
    wait_for(lambda: kube.find("Service", name, kubelet.namespace), f"Service {name}")
    return served


def bind(kube: Kube, pod: Object, node: str = "ghost") -> None:
    """As the scheduler would: deleting a pod that has a node is a request until its kubelet answers."""
    meta = pod["metadata"]
    body = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": meta["name"]},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    }
    path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/binding"
    kube.request("POST", path, body=body)


def end_at_once(kube: Kube, pod: Object) -> None:
    """As a kubelet answers a deletion: the pod is gone."""
    meta = pod["metadata"]
    kube.delete("Pod", meta["name"], meta["namespace"], grace=0, missing_ok=True)


def statuses(kube: Kube, pod: Object, phase: str, *containers: Object, **more: Any) -> None:
    """Say of a pod's containers what a kubelet would."""
    kube.patch(
        "Pod",
        pod["metadata"]["name"],
        {"status": {"phase": phase, "containerStatuses": list(containers)} | more},
        pod["metadata"]["namespace"],
        subresource="status",
    )


def container(state: Object, *, name: str = "stage", ready: bool = False) -> Object:
    """A container's status."""
    return {
        "name": name,
        "image": "registry.invalid/x:test",
        "imageID": "registry.invalid/x@sha256:" + "f" * 64,
        "ready": ready,
        "started": ready,
        "restartCount": 0,
        "state": state,
        "lastState": {},
    }


def steady(look: Callable[[], object], what: str, *, seconds: float = 3) -> None:
    """Assert that something stays true: there is no event to wait for when nothing is to happen."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert look(), what
        time.sleep(0.1)


def defects(operator: Operator) -> list[str]:
    """The lines of its metrics that count defects of the operator, with more than 0."""
    return [
        line
        for line in operator.get("/metrics")[1].splitlines()
        if 'result="defect"' in line and not line.endswith(" 0.0")
    ]


def assert_well(operator: Operator) -> None:
    """Alive, at work, and without a defect."""
    assert operator.process.is_alive(), operator.tail()
    assert operator.get("/livez")[0] == 200
    assert operator.get("/readyz")[0] == 200
    assert defects(operator) == []


def works(kube: Kube, name: str, namespace: str, fine_tune: Object) -> None:
    """The operator does what it is for: a new FineTune there gets a Job and ends well."""
    kube.create(fine_tune)
    succeed(kube, Kubelet(kube, namespace), "FineTune", name)


def refused(kube: Kube, obj: Object) -> str:
    """Create an object; what the API server says if it finds a field invalid (422), else nothing."""
    try:
        kube.create(obj)
    except ApiError as error:
        if error.code != 422:
            raise
        return error.message
    return ""


def free_address() -> str:
    """An address of this machine: every one of 127/8 is; tests beside each other take different ones."""
    return f"127.{random.randrange(1, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}"


@contextmanager
def stage_at(address: str, body: bytes | Progress, code: int = 200) -> Iterator[list[str]]:
    """Something that answers on a stage's port as this body says; the paths that it was asked for."""
    asked: list[str] = []
    raw = body.to_json().encode() if isinstance(body, Progress) else body

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(code)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: object) -> None:
            """Nothing: the test's output is the operator's."""

    server = ThreadingHTTPServer((address, PORT), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield asked
    finally:
        server.shutdown()
        server.server_close()


def step_of(kube: Kube, kind: str, name: str, namespace: str, step: int) -> Object:
    """Wait until a resource's progress is at a step."""
    return wait_object(
        kube,
        kind,
        name,
        namespace,
        lambda o: o.get("status", {}).get("progress", {}).get("step") == step,
        f"is at step {step}",
    )


def job_complete(kube: Kube, name: str, namespace: str) -> None:
    """Wait until the Job controller has closed a Job."""
    wait_condition(kube, "Job", name, namespace, "Complete", unless="Failed")


def all_gone(kube: Kube, kind: str, namespace: str, labels: str = "") -> None:
    """Wait until there is none of a kind."""
    wait_for(lambda: kube.list(kind, namespace, labels=labels) == [], f"every {kind} to be gone", timeout=60)


def succeed_running(
    kube: Kube, kubelet: Kubelet, kind: str, name: str, pod: Object, digest: str = "a"
) -> Object:
    """Let a pod that runs end well; the resource."""
    kubelet.finish(pod, published(kube, pod, digest))
    return wait_condition(kube, kind, name, kubelet.namespace, "Succeeded", unless="Failed")
