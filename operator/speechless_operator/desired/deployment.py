"""The Deployment of one revision of an InferenceService."""

from __future__ import annotations

from speechless.contract import StageName
from speechless_operator.api.inferenceservice import InferenceServiceSpec
from speechless_operator.desired.inputs import Run, uris
from speechless_operator.desired.job import RUN_ANNOTATION
from speechless_operator.desired.mounts import Mounts
from speechless_operator.desired.objects import LABEL_NAME, LABEL_REVISION, LABEL_UID, Object, Owner
from speechless_operator.desired.pod import stage_pod, template_metadata

PORT = 8080
START_SECONDS = 1800
"""How long a pod may verify and load its model. 70B parameters at 8 bits from a volume of 50 MB/s take 23 minutes."""
_PROBE_SECONDS = 5
DRAIN_SECONDS = 5
"""Between the end of new requests (the endpoint goes) and SIGTERM: kube-proxies need a moment to learn of it."""
GRACE_SECONDS = 60


def deployment(
    owner: Owner, name: str, revision: str, *, image: str, spec: InferenceServiceSpec, run: Run
) -> Object:
    """A Deployment of `spec.replicas` pods. Its name is its ConfigMap's, too."""
    selector = {LABEL_NAME: owner.name, LABEL_UID: owner.uid, LABEL_REVISION: revision}
    pod = stage_pod(
        StageName.SERVE,
        image=image,
        config_map=name,
        mounts=Mounts.of(uris(run.inputs)),
        settings=spec.pod,
        grace_seconds=GRACE_SECONDS,
        container=_serving(),
    )
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": owner.metadata(
            name, labels={LABEL_REVISION: revision}, annotations={RUN_ANNOTATION: run.to_json()}
        ),
        "spec": {
            "replicas": spec.replicas,
            "revisionHistoryLimit": 1,
            "progressDeadlineSeconds": START_SECONDS + 60,
            "selector": {"matchLabels": selector},
            "template": {
                "metadata": template_metadata(owner.labels | {LABEL_REVISION: revision}, spec.pod),
                "spec": pod,
            },
        },
    }


def _serving() -> Object:
    """Probes and port. No liveness probe: an engine whose every thread answers a request is busy, not dead."""
    health = {"httpGet": {"path": "/health", "port": "http"}, "timeoutSeconds": 3}
    return {
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "startupProbe": health
        | {"periodSeconds": _PROBE_SECONDS, "failureThreshold": START_SECONDS // _PROBE_SECONDS},
        "readinessProbe": health | {"periodSeconds": _PROBE_SECONDS, "failureThreshold": 3},
        "lifecycle": {"preStop": {"sleep": {"seconds": DRAIN_SECONDS}}},
    }


def revision_of(found: Object) -> str:
    """The revision that an object belongs to."""
    return str(found["metadata"].get("labels", {}).get(LABEL_REVISION, ""))


def is_ready(found: Object) -> bool:
    """Whether every pod that a Deployment should have serves, as far as its controller has seen its newest spec."""
    status, spec = found.get("status", {}), found["spec"]
    seen = status.get("observedGeneration", 0) >= found["metadata"].get("generation", 0)
    return bool(seen and status.get("availableReplicas", 0) >= spec.get("replicas", 1))
