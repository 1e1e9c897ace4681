"""Do what a plan says, in an order that a crash at any point leaves in a state that the next plan goes on from."""

from __future__ import annotations

import logging
from collections.abc import Callable

from speechless_operator.desired.objects import Object
from speechless_operator.plan import Observed, Plan, Refusal
from speechless_operator.runtime.client import PROGRESS_MANAGER, ApiError, KubeClient
from speechless_operator.runtime.events import record
from speechless_operator.runtime.resources import WATCHED

_log = logging.getLogger(__name__)
_REFUSED = frozenset({400, 403, 422})
"""Answers about the object itself: it would be refused again. Others may pass."""
CONFLICT = 409


class Actor:
    """Carries plans out."""

    def __init__(self, client: KubeClient, keep: Callable[[Object], None], identity: str) -> None:
        """Write with `client`; `keep` is handed what was written, as if a watch had told of it."""
        self._client, self._keep, self._identity = client, keep, identity

    async def children(self, observed: Observed, plan: Plan) -> tuple[Refusal, ...]:
        """Apply and patch children; return those that the API server refused."""
        refused = []
        for child in plan.apply:
            kind, name = child["kind"], child["metadata"]["name"]
            try:
                if kind == "Service" and observed.named(kind, name) is None:
                    await self._must_be_free(observed, child)
                self._keep(await self._client.apply(child))
            except ApiError as error:
                if error.code not in _REFUSED | {CONFLICT}:
                    raise
                refused.append(Refusal(kind, name, error.code, error.message))
                # What comes after builds on it: a Job without its ConfigMap would only fail later.
                break
        for patch in plan.patch:
            resource = WATCHED[patch.kind]
            try:
                self._keep(
                    await self._client.patch(resource, observed.owner.namespace, patch.name, patch.body)
                )
            except ApiError as error:
                if error.code != 404:
                    raise
        return tuple(refused)

    async def told(self, obj: Object, plan: Plan) -> None:
        """Write Events, then the status, then the last progress; then delete what is to go."""
        if plan.status is not None and plan.status != _own(obj):
            # Status first: with a conflict nothing was said yet, and the next round says it.
            obj = await self._client.apply_status(obj, plan.status)
            self._keep(obj)
            for event in plan.events:
                await record(self._client, obj, event, self._identity)
        if plan.progress is not None:
            self._keep(await self._client.apply_status(obj, {"progress": plan.progress}, PROGRESS_MANAGER))
        for gone in plan.delete:
            await self._client.delete(WATCHED[gone.kind], obj["metadata"]["namespace"], gone.name, gone.uid)

    async def _must_be_free(self, observed: Observed, child: Object) -> None:
        """A Service has the resource's own name, which somebody else may use: theirs is not taken over."""
        kind, meta = child["kind"], child["metadata"]
        try:
            found = await self._client.get(WATCHED[kind], meta["namespace"], meta["name"])
        except ApiError as error:
            if error.code == 404:
                return
            raise
        if not observed.owner.owns(found):
            raise ApiError(
                CONFLICT,
                "exists and belongs to somebody else: delete it, or give this resource another name",
                f"{kind} {meta['name']}",
            )


def _own(obj: Object) -> Object:
    """The part of a status that the plan writes; progress has a writer of its own."""
    return {key: value for key, value in obj.get("status", {}).items() if key != "progress"}
