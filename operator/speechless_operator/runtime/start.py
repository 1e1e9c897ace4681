"""What is looked at first: is the API server there, does it serve our kinds, are they this version's."""

from __future__ import annotations

import asyncio
import logging
import time

from speechless_operator.api.kinds import GROUP, KINDS, VERSION
from speechless_operator.crd.definition import SCHEMA_HASH, crd
from speechless_operator.runtime import metrics
from speechless_operator.runtime.client import ApiError, KubeClient
from speechless_operator.runtime.supervise import Patience

SILENT_SECONDS = 20.0
"""An API server that does not answer, or refuses who we are, for so long is not there for us."""
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_log = logging.getLogger(__name__)


class StartError(Exception):
    """The operator cannot start; the message says what to do."""


async def check_kinds(client: KubeClient, server: str) -> None:
    """Return when the API server serves all our kinds: a watch would hear nothing, without a word.

    A server that is busy or starts itself (429, 5xx) is waited for as long as it takes.

    Raises:
        StartError: A kind is not served, or there is no API server, or it does not let us in.
    """
    patience, silent_since = Patience((0.5, 1, 2, 5)), time.monotonic()
    while True:
        try:
            served = {
                r["name"] for r in (await client.discover(f"/apis/{GROUP}/{VERSION}")).get("resources", [])
            }
            break
        except ApiError as error:
            if error.code == 404:
                served = set()
                break
            busy = error.code == 429 or error.code >= 500
            if busy:
                silent_since = time.monotonic()
            elif time.monotonic() - silent_since > SILENT_SECONDS:
                raise StartError(f"the API server at {server}: {error}") from error
            _log.warning("the API server at %s is waited for: %s", server, error)
            await asyncio.sleep(patience.next(error.retry_after))
    missing = [kind.crd_name for kind in KINDS.values() if kind.plural not in served]
    if missing:
        raise StartError(
            f"the API server does not serve {', '.join(missing)} ({VERSION}): install the CRDs first "
            "(kubectl apply --server-side -f crds/, or the chart with crds.install=true)"
        )


async def compare_schemas(client: KubeClient) -> None:
    """Say where an installed CRD is not this version's: it works, but fields may be missing, or not be known."""
    for kind in KINDS.values():
        try:
            meta = await client.metadata(f"{_CRDS}/{kind.crd_name}")
        except ApiError as error:
            # A role for some namespaces only may not read what belongs to the cluster.
            _log.info("CRD %s cannot be compared with this version's: %s", kind.crd_name, error)
            continue
        installed = (meta.get("annotations") or {}).get(SCHEMA_HASH)
        # A tenth of a second of work: not in the loop that renews the Lease.
        ours = (await asyncio.to_thread(crd, kind))["metadata"]["annotations"][SCHEMA_HASH]
        metrics.CRDS_DIFFER.labels(kind.crd_name).set(installed != ours)
        if installed != ours:
            _log.warning(
                "CRD %s is not the one of this version (%s is %s, this version's is %s): fields may be missing "
                "or unknown; install the CRDs that came with the operator",
                kind.crd_name, SCHEMA_HASH, installed or "not set", ours,
            )  # fmt: skip
