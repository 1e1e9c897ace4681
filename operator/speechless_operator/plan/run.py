"""The identity of a run: a hash of what decides its result, and of nothing else.

The same content has the same name, whoever creates it and when: it finds its artifact or its checkpoint. Other content
has another name, and never touches them. It is written to status.run before the first child, and names the output and
the children. The resource's uid is not in it, nor is what a run may be given more of: time, memory, another node.
"""

from __future__ import annotations

from speechless.contract import decisive, storage
from speechless.contract.spec import StageSpec
from speechless_operator.api.pod import PodSettings
from speechless_operator.desired.inputs import Run
from speechless_operator.desired.objects import Object, Owner, digest_of, short_name
from speechless_operator.plan.conditions import find

DIGITS = 10
"""Hexadecimal digits of a run's name: 40 bits tell the runs of one resource's name apart."""


def name_of(stage: StageSpec, pod: PodSettings) -> str:
    """The run's name, from the stage spec as it is rendered and from what of the pod decides the result.

    The operator's own image is not in it: an upgrade makes no result worthless. An image or environment that the user
    set is: it is part of what they asked for.
    """
    return digest_of({"stage": decisive(stage), **overrides(pod)})[:DIGITS]


_OVERRIDES = {"image", "env", "env_from", "volumes", "volume_mounts"}


def overrides(pod: PodSettings) -> Object:
    """What a user set that changes which program runs, or how."""
    found = pod.model_dump(mode="json", exclude_defaults=True, include=_OVERRIDES)
    return {key: value for key, value in found.items() if value}


def output(store: str, owner: Owner, name: str) -> str:
    """Where a run's artifact goes."""
    return storage.artifact_uri(store, owner.namespace, owner.kind.lower(), owner.name, name)


def job_name(owner: Owner, run: Run, part: str = "") -> str:
    """The name of the Job of one part of a run."""
    again = f"-{run.attempt}" if run.attempt > 1 else ""
    return short_name(owner.child_name(run.name) + (f"-{part}" if part else "") + again, owner.name)


def adopted(owner: Owner, job: Object, status: Object) -> Run | None:
    """The run of a Job that the first version made, which kept it in an annotation."""
    annotations = job["metadata"].get("annotations") or {}
    prefix = owner.child_name("")
    name = job["metadata"]["name"]
    run = Run.from_json(annotations.get("speechless.dev/run"), name.removeprefix(prefix))
    if run is None or not name.startswith(prefix):
        return None
    was = (find(status, "Ready") or {}).get("reason")
    return Run(
        run.inputs, run.output, run.name, suspended=was == "Suspended" and job["spec"].get("suspend") is True
    )
