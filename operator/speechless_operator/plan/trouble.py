"""What went wrong with the API server or in this operator, as an aspect of the resource: no log alone has it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from speechless_operator.api.reasons import Reason
from speechless_operator.desired.objects import Object
from speechless_operator.plan.accept import text
from speechless_operator.plan.conditions import Aspect, entries, now_text, phase
from speechless_operator.plan.observed import At, Observed, Trouble

CONFLICT = 409
_HINTS = {
    Reason.POD_REFUSED: "the namespace's Pod Security level or a policy refuses it; the message says which rule",
    Reason.QUOTA_EXCEEDED: "raise the namespace's quota, or set spec.pod.resources within it",
}
_KNOWN = (
    ("PriorityClass", "create the priority class, or set spec.pod.priorityClassName to one that exists"),
    ("service ?account", "create the service account, or set spec.pod.serviceAccountName to one that exists"),
    ("RuntimeClass", "create the runtime class, or set spec.pod.runtimeClassName to one that exists"),
    ("failed calling webhook", "a webhook of the cluster does not answer: it, or its configuration, must be mended"),
    ("is being terminated", "the namespace is being deleted"),
)  # fmt: skip


def refusal(message: str) -> Reason:
    """Why the API server did not take a pod or another object, from its message."""
    if "exceeded quota" in message or "failed quota" in message:
        return Reason.QUOTA_EXCEEDED
    if "PodSecurity" in message or re.search(
        r"pods? .*is forbidden|admission webhook|ValidatingAdmissionPolicy", message
    ):
        return Reason.POD_REFUSED
    return Reason.CHILD_REFUSED


def hint(reason: Reason, message: str) -> str:
    """What to do about it, where that is known: first by what the message names."""
    for pattern, words in _KNOWN:
        if re.search(pattern, message):
            return words
    return _HINTS.get(reason, "")


def told(troubles: Sequence[Trouble], *, children: bool = True) -> Aspect | None:
    """The aspect Progressing of a resource whose plan could not be carried out; None where nothing is worth telling.

    An answer that may pass (5xx, none at all) is told when it came twice in a row: one of them is not news.
    """
    worth = [t for t in troubles if t.at in (At.APPLY, At.PATCH, At.DELETE) and (t.final or t.times > 1)]
    worth = worth if children else []
    worth += [t for t in troubles if t.at in (At.STATUS, At.DEFECT)]
    worth += [t for t in troubles if t.at is At.READ and (t.final or t.times > 1)]
    if not worth:
        return None
    first = worth[0]
    if first.at is At.DEFECT:
        message = f"a defect of the operator, which its log tells in full: {first.message}"
        return Aspect("Progressing", False, Reason.OPERATOR_ERROR, message, stalled=True)
    if first.at is At.STATUS:
        message = f"the API server refuses the status ({first.code}): {first.message}"
        return Aspect("Progressing", False, Reason.STATUS_REFUSED, message, stalled=True)
    if first.at is At.READ:
        message = f"what is to be looked at first cannot be read: {first.message}"
        return Aspect("Progressing", False, Reason.API_ERROR, message, stalled=first.final)
    return _of_a_child(first)


def _of_a_child(trouble: Trouble) -> Aspect:
    what, message = f"{trouble.kind} {trouble.name}".strip(), trouble.message
    if trouble.waits:
        return Aspect("Progressing", False, Reason.WAITING_FOR_EARLIER, f"{what}: {message}")
    if not trouble.final:
        answer = (
            f"the API server answers {trouble.code}" if trouble.code else "the API server does not answer"
        )
        text_ = _with_hint(f"{what}: {answer}: {message}; it is tried again", Reason.API_ERROR, message)
        return Aspect("Progressing", False, Reason.API_ERROR, text_)
    if trouble.code == CONFLICT:
        return Aspect("Progressing", False, Reason.NAME_CONFLICT, f"{what}: {message}", stalled=True)
    reason = refusal(message)
    return Aspect("Progressing", False, reason, _with_hint(f"{what}: {message}", reason, message))


def _with_hint(message: str, reason: Reason, about: str) -> str:
    words = hint(reason, about)
    return text(f"{text(message, 3000)}\n{words}" if words else message)


def minimal(observed: Observed, now: datetime) -> Object:
    """A status that says what went wrong and leaves all else as it was: for when no plan could be made, or told."""
    wrong = told(observed.troubles, children=False)
    old: Mapping[str, object] = observed.status
    status = {key: value for key, value in old.items() if key != "progress"}
    if wrong is None:
        return status
    kept = [entry for entry in entries(old) if entry["type"] not in ("Ready", "Reconciling", "Stalled")]
    final = any(entry["type"] in ("Succeeded", "Failed") and entry.get("status") == "True" for entry in kept)
    if final:  # an outcome is never overwritten
        return status
    # What serves, serves on: the same defect says nothing of it.
    before = {entry["type"]: entry for entry in entries(old)}
    serves = before.get("Ready", {}) if before.get("Available", {}).get("status") == "True" else {}
    beside = "Stalled" if wrong.stalled else "Reconciling"
    for kind, value in (("Ready", serves.get("status", "False")), (beside, "True")):
        earlier = before.get(kind, {})
        kept.append(
            {
                "type": kind,
                "status": value,
                "reason": wrong.reason.value,
                "message": text(wrong.message),
                "observedGeneration": observed.owner.generation,
                "lastTransitionTime": earlier.get("lastTransitionTime")
                if earlier.get("status") == value
                else now_text(now),
            }
        )
    return status | {
        "observedGeneration": observed.owner.generation,
        "phase": phase(kept).value,
        "conditions": kept,
    }
