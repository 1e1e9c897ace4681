"""What a plan asks to see before it is final: the end of a pod's log, and the API server's own word."""

from __future__ import annotations

import logging
from collections import OrderedDict

from speechless_operator.desired.objects import LABEL_KIND, LABEL_NAME, Object
from speechless_operator.desired.pod import CONTAINER
from speechless_operator.plan import Live, Look, Observed
from speechless_operator.plan.accept import LOG_LINES
from speechless_operator.plan.diagnosis import container_status
from speechless_operator.runtime.client import ApiError, KubeClient
from speechless_operator.runtime.resources import CHILDREN, Resource

_log = logging.getLogger(__name__)
_MAX_LOGS = 256
_NOT_FOUND = 404


class Looker:
    """Reads what plans want to read."""

    def __init__(self, client: KubeClient) -> None:
        """Read with `client`."""
        self._client = client
        self._logs: OrderedDict[tuple[str, int], str] = OrderedDict()

    async def look(self, observed: Observed, wanted: Look) -> Live:
        """Read Jobs and ConfigMaps by name and, with Jobs, every pod of the resource's name, whatever uid it had.

        Raises:
            ApiError: The API server did not answer: what is not known is not taken for not there.
        """
        namespace = observed.owner.namespace
        jobs = {name: await self._get(CHILDREN["Job"], namespace, name) for name in wanted.jobs}
        maps = {name: await self._get(CHILDREN["ConfigMap"], namespace, name) for name in wanted.config_maps}
        pods: list[Object] = []
        if wanted.jobs:
            owner = observed.owner
            labels = f"{LABEL_KIND}={owner.kind},{LABEL_NAME}={owner.name}"
            pods, _ = await self._client.list(CHILDREN["Pod"], namespace, labels=labels)
        return Live(
            jobs={name: job for name, job in jobs.items() if job is not None},
            pods=tuple(pods),
            config_maps={name: found for name, found in maps.items() if found is not None},
        )

    async def _get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        try:
            return await self._client.get(resource, namespace, name)
        except ApiError as error:
            if error.code == _NOT_FOUND:
                return None
            raise

    async def log(self, observed: Observed, name: str) -> str:
        """The end of a pod's log; empty where there is none: a diagnosis without it is better than none."""
        live = observed.live.pods if observed.live else ()
        pod = observed.named("Pod", name) or next((p for p in live if p["metadata"]["name"] == name), None)
        if pod is None:
            return ""
        status = container_status(pod)
        known = (str(pod["metadata"]["uid"]), int(status.get("restartCount") or 0))
        if known in self._logs:
            return self._logs[known]
        previous = "terminated" not in (status.get("state") or {}) and known[1] > 0
        try:
            text = await self._client.log(
                observed.owner.namespace, name, CONTAINER, previous=previous, lines=LOG_LINES
            )
        except ApiError as error:
            _log.info("log of pod %s/%s: %s", observed.owner.namespace, name, error)
            return ""
        self._logs[known] = text
        while len(self._logs) > _MAX_LOGS:
            self._logs.popitem(last=False)
        return text
