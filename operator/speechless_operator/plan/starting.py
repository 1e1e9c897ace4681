"""Whether a run may start: two attempts never write at once, and what is another's is not taken."""

from __future__ import annotations

from collections.abc import Sequence

from speechless_operator.api.reasons import Reason
from speechless_operator.desired.inputs import Run
from speechless_operator.desired.objects import LABEL_RUN, Object, Owner, controller_uid
from speechless_operator.plan import watching
from speechless_operator.plan.conditions import Aspect
from speechless_operator.plan.observed import At, Delete, Live, Observed

_IMMUTABLE = 422


def in_the_way(owner: Owner, run: Run, live: Live) -> Aspect | None:
    """What keeps the run from starting, as the API server itself says; None where nothing does."""
    own: set[str] = set()
    for name, job in sorted(live.jobs.items()):
        controller = controller_uid(job)
        if "deletionTimestamp" in job["metadata"]:
            return _waits(f"Job {name} is being deleted: the run starts when it is gone")
        if controller != owner.uid and not owner.had(job):
            message = (
                f"Job {name} exists and belongs to somebody else, or to nobody any more: delete it, or give this "
                "resource another name"
            )
            return Aspect("Progressing", False, Reason.NAME_CONFLICT, message, stalled=True)
        if controller != owner.uid:
            return _waits(f"Job {name} of an earlier {owner.kind} of this name has not gone yet")
        own.add(str(job["metadata"]["uid"]))
    for pod in live.pods:
        labels = pod["metadata"].get("labels") or {}
        same = labels.get(LABEL_RUN, run.name) == run.name
        if same and watching.is_alive(pod) and controller_uid(pod) not in own:
            name = pod["metadata"]["name"]
            return _waits(f"pod {name} of an earlier attempt has not ended: two would write the same output")
    return None


def _waits(message: str) -> Aspect:
    return Aspect("Progressing", False, Reason.WAITING_FOR_EARLIER, message)


def replaceable(observed: Observed, children: Sequence[Object]) -> tuple[Delete, ...]:
    """ConfigMaps of this resource that say something else under the same name, while no Job needs them.

    They are immutable. An operator of another version may have written them before the Job could be made.
    """
    refused = {
        (trouble.kind, trouble.name)
        for trouble in observed.troubles
        if trouble.at is At.APPLY and trouble.code == _IMMUTABLE
    }
    found = (
        observed.named("ConfigMap", child["metadata"]["name"])
        for child in children
        if (child["kind"], child["metadata"]["name"]) in refused and child["kind"] == "ConfigMap"
    )
    return tuple(Delete("ConfigMap", old["metadata"]["name"], old["metadata"]["uid"]) for old in found if old)
