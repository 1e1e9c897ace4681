"""Plays the kubelet: says of pods what a node would say, through the same API."""

from __future__ import annotations

import datetime
import json
from typing import Any

from speechless.contract import (
    Artifact,
    Failure,
    FailureReason,
    Format,
    InputRecord,
    Metric,
    Outcome,
    StageResult,
)
from tests.support.kube import Kube, Object
from tests.support.wait import wait_for

CONTAINER = "stage"
OF_THE_RUN = "pvc://the/output/that/the/stage/was/told"
DIGESTS = {letter: f"sha256:{letter * 64}" for letter in "abcdef"}


def now() -> str:
    """A time as Kubernetes writes it."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def succeeded(
    digest: str = "a",
    *,
    form: Format = Format.HUGGING_FACE,
    uri: str = OF_THE_RUN,
    inputs: dict[str, str] | None = None,
    **metrics: float,
) -> StageResult:
    """What a stage says that went well. Where its artifact is, is said when it ends: `Kubelet.finish`."""
    return StageResult(
        outcome=Outcome.SUCCEEDED,
        artifact=Artifact(uri=uri, digest=DIGESTS[digest], size_bytes=1234, format=form),
        inputs=tuple(
            InputRecord(name=name, uri="pvc://models/x", digest=DIGESTS[d])
            for name, d in (inputs or {}).items()
        ),
        metrics=tuple(Metric(name=name.replace("__", "/"), value=value) for name, value in metrics.items()),
        seed=42,
        versions={"transformers": "5.0.0"},
        seconds=1.5,
    )


def failed(reason: FailureReason, message: str, hint: str = "") -> StageResult:
    """What a stage says that failed."""
    return StageResult(outcome=Outcome.FAILED, failure=Failure(reason=reason, message=message, hint=hint))


class Kubelet:
    """Speaks for the node of one namespace."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self.kube, self.namespace = kube, namespace

    def pod(self, kind: str, name: str, *, attempt: int = 1) -> Object:
        """The newest pod of a resource, as soon as there have been so many."""
        labels = f"speechless.dev/kind={kind},speechless.dev/name={name}"

        def look() -> Object | None:
            pods = self.kube.list("Pod", self.namespace, labels=labels)
            pods.sort(key=lambda pod: int(pod["metadata"]["resourceVersion"]))
            live = [pod for pod in pods if pod["status"].get("phase") == "Pending"]
            return live[-1] if len(pods) >= attempt and live else None

        found = wait_for(look, f"pod {attempt} of {kind} {name}", timeout=40)
        assert found is not None
        return found

    def run(self, pod: Object, ip: str = "127.0.0.1", *, ready: bool = False) -> None:
        """The container runs."""
        conditions = [{"type": "PodScheduled", "status": "True"}]
        if ready:
            conditions += [
                {"type": kind, "status": "True", "lastTransitionTime": now()}
                for kind in ("Ready", "ContainersReady")
            ]
        self._status(
            pod,
            {
                "phase": "Running",
                "podIP": ip,
                "podIPs": [{"ip": ip}],
                "startTime": now(),
                "conditions": conditions,
                "containerStatuses": [self._container({"running": {"startedAt": now()}}, ready=ready)],
            },
        )

    def waiting(
        self, pod: Object, reason: str, message: str, *, last: Object | None = None, restarts: int = 0
    ) -> None:
        """The container waits for something."""
        state = self._container({"waiting": {"reason": reason, "message": message}}, restarts=restarts)
        if last:
            state["lastState"] = {"terminated": last}
        self._status(pod, {"phase": "Pending" if not restarts else "Running", "containerStatuses": [state]})

    def finish(
        self,
        pod: Object,
        result: StageResult | str,
        *,
        exit_code: int | None = None,
        reason: str | None = None,
    ) -> None:
        """The container ended. A result is of the output that its stage was told; a text is said as it is."""
        message = result if isinstance(result, str) else self._told(pod, result).termination_message()
        if exit_code is None:
            failure = None if isinstance(result, str) else result.failure
            exit_code = int(failure.reason.exit_code) if failure else 0
        ended = {
            "exitCode": exit_code,
            "reason": reason or ("Completed" if exit_code == 0 else "Error"),
            "message": message,
            "startedAt": now(),
            "finishedAt": now(),
        }
        self._status(
            pod,
            {
                "phase": "Succeeded" if exit_code == 0 else "Failed",
                "containerStatuses": [self._container({"terminated": ended})],
            },
        )

    def _told(self, pod: Object, result: StageResult) -> StageResult:
        if result.artifact is None or result.artifact.uri != OF_THE_RUN:
            return result
        volume = next(v for v in pod["spec"]["volumes"] if v["name"] == "spec")
        told = self.kube.get("ConfigMap", volume["configMap"]["name"], self.namespace)
        output = json.loads(told["data"]["stage.json"]).get("output")
        return result.model_copy(update={"artifact": result.artifact.model_copy(update={"uri": output})})

    def _container(self, state: Object, *, ready: bool = False, restarts: int = 0) -> Object:
        return {
            "name": CONTAINER,
            "image": "registry.invalid/x:test",
            "imageID": "registry.invalid/x@" + DIGESTS["f"],
            "ready": ready,
            "started": ready,
            "restartCount": restarts,
            "state": state,
            "lastState": {},
        }

    def _status(self, pod: Object, status: dict[str, Any]) -> None:
        # Everything of the pod's status but the conditions is the kubelet's: replaced as a whole.
        self.kube.patch(
            "Pod", pod["metadata"]["name"], {"status": status}, self.namespace, subresource="status"
        )
