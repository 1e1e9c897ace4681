"""The Deployment of one revision of an InferenceService, and what is kept of it so that it stays as it was made."""

from __future__ import annotations

import json
from typing import Any

from speechless.contract import StageName
from speechless.contract.engines import Engine
from speechless_operator.api.inferenceservice import InferenceServiceSpec
from speechless_operator.desired.children import BUILT_ANNOTATION, RUN_ANNOTATION, STAGE_ANNOTATION
from speechless_operator.desired.inputs import Run
from speechless_operator.desired.mounts import Mounts
from speechless_operator.desired.objects import LABEL_REVISION, Object, Owner
from speechless_operator.desired.pod import stage_pod, template_metadata
from speechless_operator.desired.service import selector
from speechless_operator.desired.settings import PodDefaults

START_SECONDS = 1800
"""How long a pod may verify and load its model. 70B parameters at 8 bits from a volume of 50 MB/s take 23 minutes."""
_PROBE_SECONDS = 5
DRAIN_SECONDS = 5
"""Between the end of new requests (the endpoint goes) and SIGTERM: kube-proxies need a moment to learn of it."""
BUILT_FILE = "deployment.json"
"""In a revision's ConfigMap, beside the stage's spec: the Deployment's spec as it was made."""


def spec_of(
    owner: Owner,
    name: str,
    revision: str,
    *,
    image: str,
    spec: InferenceServiceSpec,
    run: Run,
    engine: Engine,
    defaults: PodDefaults,
) -> Object:
    """The spec of a revision's Deployment, but for the number of pods. `name` is its ConfigMap's."""
    pod = stage_pod(
        StageName.SERVE,
        image=image,
        config_map=name,
        mounts=Mounts.of(run),
        settings=spec.pod,
        defaults=defaults,
        grace_seconds=DRAIN_SECONDS + spec.drained_within + 10,
        container=_serving(engine),
    )
    return {
        "revisionHistoryLimit": 1,
        "progressDeadlineSeconds": START_SECONDS + 60,
        "selector": {"matchLabels": selector(owner, revision)},
        "template": {
            "metadata": template_metadata(owner.labels | {LABEL_REVISION: revision}, spec.pod, defaults),
            "spec": pod,
        },
    }


def deployment(
    owner: Owner, name: str, revision: str, built: Object, *, run: Run, stage: str, replicas: int
) -> Object:
    """The Deployment of a revision, from its spec as it was made; `stage`: what its pods are told."""
    annotations = {RUN_ANNOTATION: run.to_json(), BUILT_ANNOTATION: to_text(built), STAGE_ANNOTATION: stage}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": owner.metadata(name, labels={LABEL_REVISION: revision}, annotations=annotations),
        "spec": built | {"replicas": replicas},
    }


def to_text(built: Object) -> str:
    """A Deployment's spec as it is kept."""
    return json.dumps(built, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def built_of(text: object) -> Object | None:
    """A Deployment's spec as it was made, from where it was kept; None where that cannot be read."""
    try:
        found: Any = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return found if isinstance(found, dict) and "template" in found and "selector" in found else None


def _serving(engine: Engine) -> Object:
    """Probes and port. No liveness probe: an engine whose every thread answers a request is busy, not dead."""
    health = {"httpGet": {"path": engine.health_path, "port": "http"}, "timeoutSeconds": 3}
    return {
        "ports": [{"name": "http", "containerPort": engine.port, "protocol": "TCP"}],
        "startupProbe": health
        | {"periodSeconds": _PROBE_SECONDS, "failureThreshold": START_SECONDS // _PROBE_SECONDS},
        "readinessProbe": health | {"periodSeconds": _PROBE_SECONDS, "failureThreshold": 3},
        "lifecycle": {"preStop": {"sleep": {"seconds": DRAIN_SECONDS}}},
    }


def revision_of(found: Object) -> str:
    """The revision that a child belongs to, by its name: unlike a label, nobody can change that."""
    return str(found["metadata"]["name"]).rpartition("-")[2]


def image_of(found: Object) -> str:
    """The image of a Deployment's first container."""
    containers = found["spec"].get("template", {}).get("spec", {}).get("containers") or [{}]
    return str(containers[0].get("image", ""))


def replicas_of(found: Object) -> int:
    """How many pods a Deployment is to have."""
    count = found["spec"].get("replicas", 1)
    return count if isinstance(count, int) else 1


def is_ready(found: Object, replicas: int) -> bool:
    """Whether `replicas` pods of a Deployment serve, as far as its controller has seen its newest spec."""
    status = found.get("status") or {}
    seen = status.get("observedGeneration", 0) >= found["metadata"].get("generation", 0)
    return bool(
        seen and replicas_of(found) == replicas and (status.get("availableReplicas") or 0) >= replicas
    )
