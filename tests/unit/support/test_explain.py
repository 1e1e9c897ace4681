"""The account of a failed wait."""

from __future__ import annotations

from typing import Any

from tests.support.explain import (
    condition,
    conditions_text,
    container_text,
    event_text,
    event_time,
    owned_uids,
)


def test_condition_is_found_by_type() -> None:
    ready = {"type": "Ready", "status": "True"}

    assert condition({"status": {"conditions": [{"type": "Other"}, ready]}}, "Ready") is ready
    assert condition({"status": {}}, "Ready") is None
    assert condition({}, "Ready") is None
    assert condition(None, "Ready") is None


def test_conditions_in_a_line_each() -> None:
    conditions = [
        {"type": "Ready", "status": "False", "reason": "NotYet", "message": "no pod"},
        {"type": "Stalled", "status": "True"},
    ]

    assert conditions_text({"status": {"conditions": conditions}}) == [
        "Ready=False (NotYet): no pod",
        "Stalled=True",
    ]


def test_a_container_tells_its_state_and_the_one_before() -> None:
    status = {
        "name": "main",
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
        "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
        "restartCount": 3,
    }

    told = "main: waiting (CrashLoopBackOff, back-off) before: terminated (exit 137, OOMKilled) 3 restarts"
    assert container_text(status) == told
    assert container_text({"name": "main", "state": {"running": {"startedAt": "now"}}}) == "main: running"


def obj(uid: str, *owners: str) -> dict[str, Any]:
    return {"metadata": {"uid": uid, "ownerReferences": [{"uid": owner} for owner in owners]}}


def test_everything_below_an_owner() -> None:
    objects = [obj("pod", "set"), obj("set", "deployment"), obj("other-pod", "other-set"), obj("alone")]

    assert owned_uids(objects, "deployment") == {"deployment", "set", "pod"}
    assert owned_uids(objects, "pod") == {"pod"}


def test_owners_in_a_circle_come_to_an_end() -> None:
    assert owned_uids([obj("a", "b"), obj("b", "a")], "a") == {"a", "b"}


def test_an_event_has_a_time_wherever_it_keeps_it() -> None:
    made = {"metadata": {"creationTimestamp": "1"}}

    assert event_time(made) == "1"
    assert event_time(made | {"lastTimestamp": None, "eventTime": "2"}) == "2"
    assert event_time(made | {"lastTimestamp": "3", "firstTimestamp": "0"}) == "3"
    assert event_time(made | {"eventTime": "2", "series": {"lastObservedTime": "4"}}) == "4"


def test_an_event_in_a_line() -> None:
    event = {
        "metadata": {},
        "lastTimestamp": "12:00",
        "type": "Warning",
        "reason": "BackOff",
        "message": "again",
        "count": 3,
        "involvedObject": {"kind": "Pod", "name": "p"},
    }

    assert event_text(event) == "12:00 Warning BackOff Pod/p x3: again"
