"""What the operator measures of itself: names, units and labels in one place."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

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
REQUESTS = Counter(
    "speechless_operator_api_requests_total",
    "Requests to the API server",
    ["verb", "code"],
    registry=REGISTRY,
)
EVENTS_SEEN = Counter("speechless_operator_watch_events_total", "Watch events", ["kind"], registry=REGISTRY)
SOURCE_RESTARTS = Counter(
    "speechless_operator_source_restarts_total", "Restarts of the watches", registry=REGISTRY
)
MISSED = Counter(
    "speechless_operator_resync_missed_total",
    "Changes that the watches missed and a resync found",
    registry=REGISTRY,
)
LEADER = Gauge("speechless_operator_is_leader", "1 while this replica is the leader", registry=REGISTRY)
QUEUE_DEPTH = Gauge("speechless_operator_queue_depth", "Resources that wait for a worker", registry=REGISTRY)
QUEUE_AGE = Gauge(
    "speechless_operator_queue_oldest_seconds", "How long the first of them has waited", registry=REGISTRY
)
LAST_RESYNC = Gauge(
    "speechless_operator_last_resync_timestamp_seconds", "When the last resync ended", registry=REGISTRY
)
