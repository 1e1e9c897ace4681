"""Do what a plan says, in an order that a crash at any point leaves in a state that the next plan goes on from.

What goes wrong is not raised: it is returned as trouble, and the plan is made again with it, so that the resource says
it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from speechless_operator.desired.objects import Object, Owner, controller_uid
from speechless_operator.plan import At, Event, Observed, Plan, Trouble
from speechless_operator.runtime.client import PROGRESS_MANAGER, ApiError, KubeClient
from speechless_operator.runtime.events import Recorder
from speechless_operator.runtime.resources import CHILDREN, OURS

_log = logging.getLogger(__name__)
_KINDS = OURS | CHILDREN
CONFLICT, NOT_FOUND = 409, 404
_TAKEN = frozenset({CONFLICT, 422})
"""Answers that may mean that somebody else has an object of the name."""


class StaleError(Exception):
    """The resource was written by somebody else meanwhile: the ordinary end of a race; the newer one is on its way."""


class Actor:
    """Carries plans out."""

    def __init__(
        self,
        client: KubeClient,
        keep: Callable[[Object], None],
        made: Callable[[Object], None],
        recorder: Recorder,
    ) -> None:
        """Write with `client`; `keep` is handed what was written, as if a watch had told of it, `made` new children."""
        self._client, self._keep, self._made, self._recorder = client, keep, made, recorder

    async def act(self, observed: Observed, plan: Plan) -> tuple[Object, list[Trouble]]:
        """Status, then children, then what is to go, then Events and the last progress.

        Returns:
            The resource as it is now, and what went wrong. A status that could not be written stops the rest.

        Raises:
            StaleError: Somebody else has written the resource.
        """
        obj, troubles = await self.tell(observed, plan)
        if not troubles:
            troubles = await self._children(observed, plan)
        if not troubles and plan.progress is not None and "deletionTimestamp" not in obj["metadata"]:
            try:
                obj = await self._client.apply_status(obj, {"progress": plan.progress}, PROGRESS_MANAGER)
                self._keep(obj)
            except ApiError as error:
                _log.info("progress of %s: %s", _named(obj), error)  # the status has the outcome
        return obj, troubles

    async def tell(self, observed: Observed, plan: Plan) -> tuple[Object, list[Trouble]]:
        """Write the status, if it says something new, and the Events that go with it."""
        obj = observed.obj
        if plan.status is None or plan.status == _own(obj):
            return obj, []
        try:
            obj = await self._client.apply_status(obj, plan.status)
        except ApiError as error:
            if error.code == CONFLICT:
                raise StaleError(str(error)) from error
            if error.code == NOT_FOUND:  # gone meanwhile: there is nobody left to tell
                return obj, []
            return obj, [_trouble(At.STATUS, obj["kind"], obj["metadata"]["name"], error)]
        self._keep(obj)
        self._events(obj, plan.events)
        return obj, []

    def _events(self, obj: Object, events: tuple[Event, ...]) -> None:
        for event in events:
            self._recorder.tell(obj, event)

    async def _children(self, observed: Observed, plan: Plan) -> list[Trouble]:
        """Apply, patch, delete. The first that is not taken ends it: what comes after builds on it."""
        for child in plan.apply:
            if trouble := await self._apply(observed, child):
                return [trouble]
        namespace = observed.owner.namespace
        for patch in plan.patch:
            resource = _KINDS[patch.kind]
            answer = self._client.patch(resource, namespace, patch.name, patch.body)
            if trouble := await self._try(At.PATCH, patch.kind, patch.name, answer):
                return [trouble]
        return await self.delete(observed, plan)

    async def delete(self, observed: Observed, plan: Plan) -> list[Trouble]:
        """Delete what is to go, each whatever becomes of the others."""
        troubles = []
        for gone in plan.delete:
            try:
                await self._client.delete(_KINDS[gone.kind], observed.owner.namespace, gone.name, gone.uid)
            except ApiError as error:
                if error.code != CONFLICT:  # its uid is another one: it is gone already
                    troubles.append(_trouble(At.DELETE, gone.kind, gone.name, error))
        return troubles

    async def _apply(self, observed: Observed, child: Object) -> Trouble | None:
        kind, name = child["kind"], child["metadata"]["name"]
        try:
            if name == observed.owner.name and observed.named(kind, name) is None:
                await self._must_be_free(observed.owner, child)
            self._made(await self._client.apply(child))
        except ApiError as error:
            trouble = _trouble(At.APPLY, kind, name, error)
            return await self._whose(observed.owner, trouble) if error.code in _TAKEN else trouble
        return None

    async def _must_be_free(self, owner: Owner, child: Object) -> None:
        """A child with the resource's own name, which somebody else may use: theirs is not taken over."""
        kind, meta = child["kind"], child["metadata"]
        try:
            found = await self._client.get(_KINDS[kind], meta["namespace"], meta["name"])
        except ApiError as error:
            if error.code == NOT_FOUND:
                return
            raise
        if not owner.owns(found):
            raise ApiError(CONFLICT, _TAKEN_BY_OTHERS, f"{kind} {meta['name']}")

    async def _whose(self, owner: Owner, trouble: Trouble) -> Trouble:
        """Why a name is taken: by an earlier resource of this one's name, which passes, or by somebody else."""
        try:
            found = await self._client.get(_KINDS[trouble.kind], owner.namespace, trouble.name)
        except ApiError:
            return trouble
        if owner.owns(found):
            return trouble
        if owner.had(found) or (controller_uid(found) and "deletionTimestamp" in found["metadata"]):
            message = f"it belongs to an earlier {owner.kind} of this name, and has not gone yet"
            return Trouble(At.APPLY, trouble.kind, trouble.name, trouble.code, message, waits=True)
        return Trouble(At.APPLY, trouble.kind, trouble.name, CONFLICT, _TAKEN_BY_OTHERS)

    async def _try(self, at: At, kind: str, name: str, answer: Awaitable[Object]) -> Trouble | None:
        try:
            self._keep(await answer)
        except ApiError as error:
            return None if error.code == NOT_FOUND else _trouble(at, kind, name, error)
        return None


_TAKEN_BY_OTHERS = "exists and belongs to somebody else: delete it, or give this resource another name"


def _trouble(at: At, kind: str, name: str, error: ApiError) -> Trouble:
    return Trouble(at, kind, name, error.code, error.message)


def _named(obj: Object) -> str:
    meta = obj["metadata"]
    return f"{obj['kind']} {meta.get('namespace')}/{meta['name']}"


def _own(obj: Object) -> Object:
    """The part of a status that the plan writes; progress has a writer of its own."""
    return {key: value for key, value in (obj.get("status") or {}).items() if key != "progress"}
