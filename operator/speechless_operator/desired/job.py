"""The Job of a stage that runs once, or of one part of it."""

from __future__ import annotations

from speechless.contract import RETRIABLE, ExitCode, StageName
from speechless_operator.api.common import JobSpec
from speechless_operator.desired.children import RUN_ANNOTATION
from speechless_operator.desired.inputs import Run
from speechless_operator.desired.mounts import Mounts
from speechless_operator.desired.objects import LABEL_QUEUE, LABEL_RUN, Object, Owner
from speechless_operator.desired.pod import CONTAINER, stage_pod, template_metadata
from speechless_operator.desired.settings import PodDefaults

GRACE_SECONDS = 300
"""From SIGTERM to SIGKILL: long enough to write a checkpoint of a large model to a slow volume."""
FINAL_EXIT_CODES = sorted(int(code) for code in ExitCode if code is not ExitCode.OK and code not in RETRIABLE)
INDEX = "batch.kubernetes.io/job-completion-index"
"""Label and annotation of an Indexed Job's pod: its rank."""


def job(
    owner: Owner,
    name: str,
    *,
    stage: StageName,
    image: str,
    spec: JobSpec,
    run: Run,
    config_map: str,
    defaults: PodDefaults,
    ranks: int = 1,
) -> Object:
    """A Job of one pod, or of `ranks` pods that work together (an Indexed Job: rank 0 speaks for all)."""
    pod = stage_pod(
        stage,
        image=image,
        config_map=config_map,
        mounts=Mounts.of(run),
        settings=spec.pod,
        defaults=defaults,
        grace_seconds=GRACE_SECONDS,
    )
    labels = {LABEL_RUN: run.name}
    queue = {LABEL_QUEUE: spec.queue_name} if spec.queue_name else {}
    made: Object = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": owner.metadata(name, labels=labels | queue, annotations={RUN_ANNOTATION: run.to_json()}),
        "spec": {
            "parallelism": ranks,
            "completions": ranks,
            # A queueing system starts what it admits; it wants to find the Job suspended.
            "suspend": spec.suspend or bool(spec.queue_name),
            "backoffLimit": spec.backoff_limit,
            # A new attempt starts when the old pod is gone: two would write the same checkpoints.
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": _failure_rules()},
            "template": {
                "metadata": template_metadata(owner.labels | labels, spec.pod, defaults),
                "spec": pod | {"restartPolicy": "Never"},
            },
        },
    }
    if ranks > 1:
        made["spec"]["completionMode"] = "Indexed"
    if spec.active_deadline_seconds is not None:
        made["spec"]["activeDeadlineSeconds"] = spec.active_deadline_seconds
    return made


def _failure_rules() -> list[Object]:
    """The first rule that fits decides: a pod that its node drained says 75 or 137, and that is not its fault."""
    return [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {
            "action": "FailJob",
            "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": FINAL_EXIT_CODES},
        },
    ]


def rank_of(pod: Object) -> int:
    """The rank of a pod of a Job: 0 where the Job has one pod."""
    meta = pod["metadata"]
    told = (meta.get("labels") or {}).get(INDEX) or (meta.get("annotations") or {}).get(INDEX) or "0"
    return int(told) if str(told).isdigit() else 0


def finished(found: Object, kind: str) -> Object | None:
    """The Job's condition Complete or Failed, if it is true."""
    conditions = (found.get("status") or {}).get("conditions") or []
    return next((c for c in conditions if c["type"] == kind and c["status"] == "True"), None)
