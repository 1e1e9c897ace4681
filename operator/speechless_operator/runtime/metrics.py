"""What the operator measures of itself, in one place. No label takes its values from what somebody wrote."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from speechless_operator.api.kinds import KINDS
from speechless_operator.desired.children import CHILDREN

REGISTRY = CollectorRegistry()
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_KNOWN = frozenset(KINDS) | frozenset(CHILDREN)

RECONCILES = Counter(
    "speechless_operator_reconciles_total", "Reconciles by their end", ["kind", "result"], registry=REGISTRY
)
RECONCILE_SECONDS = Histogram(
    "speechless_operator_reconcile_seconds",
    "Duration of a reconcile",
    ["kind"],
    buckets=_BUCKETS,
    registry=REGISTRY,
)
QUEUE_WAIT = Histogram(
    "speechless_operator_queue_wait_seconds",
    "From the moment that a resource is to be looked at until a worker takes it",
    buckets=_BUCKETS,
    registry=REGISTRY,
)
QUEUE_DEPTH = Gauge("speechless_operator_queue_depth", "Resources that wait for a worker", registry=REGISTRY)
QUEUE_AGE = Gauge(
    "speechless_operator_queue_oldest_seconds", "How long the first of them has waited", registry=REGISTRY
)
REQUESTS = Counter(
    "speechless_operator_api_requests_total",
    "Requests to the API server; code 0: no answer",
    ["verb", "code"],
    registry=REGISTRY,
)
REQUEST_SECONDS = Histogram(
    "speechless_operator_api_request_seconds",
    "Duration of a request to the API server, without what --qps made it wait",
    ["verb"],
    buckets=_BUCKETS,
    registry=REGISTRY,
)
EVENTS_SEEN = Counter("speechless_operator_watch_events_total", "Watch events", ["kind"], registry=REGISTRY)
SOURCE_RESTARTS = Counter(
    "speechless_operator_source_restarts_total",
    "How often kopf was started again, where it watches the four kinds",
    registry=REGISTRY,
)
WATCH_FAILING = Gauge(
    "speechless_operator_watch_failing",
    "1 while a kind cannot be listed or watched in a namespace (empty: in all)",
    ["kind", "namespace"],
    registry=REGISTRY,
)
RELISTS = Counter(
    "speechless_operator_relists_total", "Lists with which a watch began", ["kind"], registry=REGISTRY
)
MISSED = Counter(
    "speechless_operator_resync_missed_total",
    "Changes that the watches missed and a resync found",
    registry=REGISTRY,
)
LAST_RESYNC = Gauge(
    "speechless_operator_last_resync_timestamp_seconds", "When the last resync ended", registry=REGISTRY
)
LOOP_FAILURES = Counter(
    "speechless_operator_loop_failures_total",
    "How often a part of the operator failed and was started again",
    ["loop"],
    registry=REGISTRY,
)
EVENTS_WAITING = Gauge(
    "speechless_operator_events_waiting", "Kubernetes Events that wait to be written", registry=REGISTRY
)
EVENTS_DROPPED = Counter(
    "speechless_operator_events_dropped_total",
    "Kubernetes Events that were not written because too many were waiting, or because they were refused",
    ["why"],
    registry=REGISTRY,
)
PROGRESS = Counter(
    "speechless_operator_progress_total",
    "Looks at running stages and writes of status.progress, by their end",
    ["result"],
    registry=REGISTRY,
)
LEADER = Gauge("speechless_operator_is_leader", "1 while this replica is the leader", registry=REGISTRY)
CRDS_DIFFER = Gauge(
    "speechless_operator_crd_schema_differs",
    "1 where the installed CRD is not the one of this version",
    ["crd"],
    registry=REGISTRY,
)
BUILD_INFO = Gauge(
    "speechless_operator_build_info", "Always 1; the labels tell", ["version", "python"], registry=REGISTRY
)


def operator_version() -> str:
    """The version of the distribution that the operator is part of."""
    try:
        return version("speechless-llm")
    except PackageNotFoundError:  # run from a checkout that was not installed
        return "unknown"


def kind_label(kind: str) -> str:
    """A kind as a label has it: a stranger's label on an object makes no new series."""
    return kind if kind in _KNOWN else "other"


BUILD_INFO.labels(operator_version(), platform.python_version()).set(1)
