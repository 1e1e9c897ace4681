"""The Job of a stage that runs once."""

from __future__ import annotations

from speechless.contract import RETRIABLE, ExitCode, StageName
from speechless_operator.api.common import JobSpec
from speechless_operator.desired.inputs import Run, uris
from speechless_operator.desired.mounts import Mounts
from speechless_operator.desired.objects import Object, Owner
from speechless_operator.desired.pod import CONTAINER, stage_pod, template_metadata

RUN_ANNOTATION = "speechless.dev/run"
GRACE_SECONDS = 300
"""From SIGTERM to SIGKILL: long enough to write a checkpoint of a large model to a slow volume."""
FINAL_EXIT_CODES = sorted(int(code) for code in ExitCode if code is not ExitCode.OK and code not in RETRIABLE)


def job(owner: Owner, name: str, *, stage: StageName, image: str, spec: JobSpec, run: Run) -> Object:
    """A Job of one pod. Its name is its ConfigMap's, too."""
    pod = stage_pod(
        stage,
        image=image,
        config_map=name,
        mounts=Mounts.of(uris(run.inputs), run.output),
        settings=spec.pod,
        grace_seconds=GRACE_SECONDS,
    )
    made: Object = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": owner.metadata(name, annotations={RUN_ANNOTATION: run.to_json()}),
        "spec": {
            "parallelism": 1,
            "completions": 1,
            "suspend": spec.suspend,
            "backoffLimit": spec.backoff_limit,
            # A new attempt starts when the old pod is gone: two would write the same checkpoints.
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": _failure_rules()},
            "template": {
                "metadata": template_metadata(owner.labels, spec.pod),
                "spec": pod | {"restartPolicy": "Never"},
            },
        },
    }
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


def run_of(found: Object) -> Run:
    """What was decided when a Job was made."""
    return Run.from_json(found["metadata"]["annotations"][RUN_ANNOTATION])


def finished(found: Object, kind: str) -> Object | None:
    """The Job's condition Complete or Failed, if it is true."""
    conditions = found.get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == kind and c["status"] == "True"), None)
