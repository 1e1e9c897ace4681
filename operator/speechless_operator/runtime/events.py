"""Kubernetes Events of the operator: one an object, reason and message; the same again is counted."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from speechless_operator.desired.objects import MANAGER, Object, short_hash
from speechless_operator.plan import Event
from speechless_operator.plan.conditions import now_text
from speechless_operator.runtime.client import ApiError, KubeClient
from speechless_operator.runtime.resources import WATCHED

_EVENT = WATCHED["Event"]
_MESSAGE_LIMIT = 1024
_log = logging.getLogger(__name__)


async def record(client: KubeClient, about: Object, event: Event, identity: str) -> None:
    """Write an Event. An Event that cannot be written is logged: it must not stop the work that it tells of."""
    meta = about["metadata"]
    now = now_text(datetime.now(UTC))
    kind = "Warning" if event.warning else "Normal"
    _log.log(
        logging.WARNING if event.warning else logging.INFO,
        "%s %s/%s: %s: %s",
        about["kind"], meta["namespace"], meta["name"], event.reason, event.message,
    )  # fmt: skip
    # The name is a function of what is said: said twice, also by two replicas, it is one Event.
    name = f"{meta['name']}.{short_hash(meta['uid'], event.reason, event.message)}"
    made: Object = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": meta["namespace"]},
        "involvedObject": {
            "apiVersion": about["apiVersion"],
            "kind": about["kind"],
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"],
        },
        "reason": event.reason,
        "message": event.message[:_MESSAGE_LIMIT],
        "type": kind,
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "source": {"component": MANAGER},
        "reportingComponent": MANAGER,
        "reportingInstance": identity[:128],
    }
    try:
        try:
            await client.create(_EVENT, meta["namespace"], made)
        except ApiError as error:
            if error.code != 409:
                raise
            known = await client.get(_EVENT, meta["namespace"], name)
            body = {"count": known.get("count", 1) + 1, "lastTimestamp": now}
            await client.patch(_EVENT, meta["namespace"], name, body)
    except ApiError as error:
        _log.warning("Event %s of %s %s: %s", event.reason, about["kind"], meta["name"], error)
