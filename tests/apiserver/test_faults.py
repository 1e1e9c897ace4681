"""Every fault of the fault proxy, met by a real client on its way to a real API server."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import urllib3
from kubernetes import client as official
from kubernetes import watch as official_watch

from tests.support import pods
from tests.support.access import Access
from tests.support.faultproxy import FaultProxy
from tests.support.faults import Answer, Blackhole, Delay, Drop, ErrorEvent
from tests.support.kube import ApiError, Kube, Object, WatchError
from tests.support.wait import wait_for

CONFIG_MAPS = r"/configmaps"


class Watching:
    """A watch of ConfigMaps in a thread: what it saw, and how it ended."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self._kube, self._namespace = kube, namespace
        self._events: queue.Queue[Object] = queue.Queue()
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for event in self._kube.watch("ConfigMap", self._namespace, name="seen", seconds=30):
                self._events.put(event)
        except (ApiError, urllib3.exceptions.HTTPError) as error:
            self.error = error

    def next(self) -> Object:
        """The next event, or `queue.Empty` after ten seconds."""
        return self._events.get(timeout=10)

    def end(self) -> Exception | None:
        """Wait for the end; the error that ended it."""
        self._thread.join(10)
        assert not self._thread.is_alive(), "the watch still runs"
        return self.error


@contextmanager
def watching(kube: Kube, proxied: Kube, namespace: str) -> Iterator[Watching]:
    """A watch through the proxy that has seen its first event."""
    kube.create(pods.config_map("seen", namespace, {}))
    watch = Watching(proxied, namespace)
    assert watch.next()["type"] == "ADDED"
    yield watch


def test_without_rules_nothing_is_changed(
    kube: Kube, proxied: Kube, fault_proxy: FaultProxy, namespace: str
) -> None:
    made = proxied.create(pods.config_map("a", namespace, {"key": "välue"}))

    assert kube.get("ConfigMap", "a", namespace) == made == proxied.get("ConfigMap", "a", namespace)
    assert len(proxied.list("ConfigMap", namespace)) == len(kube.list("ConfigMap", namespace))
    with pytest.raises(ApiError, match='configmaps "none" not found') as missing:
        proxied.get("ConfigMap", "none", namespace)
    assert missing.value.code == 404
    (post,) = fault_proxy.records(method="POST", path=CONFIG_MAPS)
    assert post.status == 201
    assert post.ended is not None
    assert post.ended > post.started


def test_large_bodies_pass(kube: Kube, proxied: Kube, namespace: str) -> None:
    text = "x" * 900_000

    proxied.create(pods.config_map("large", namespace, {"text": text}))

    assert proxied.get("ConfigMap", "large", namespace)["data"]["text"] == text


def test_watch_events_pass_as_they_happen(
    kube: Kube, proxied: Kube, fault_proxy: FaultProxy, namespace: str
) -> None:
    with watching(kube, proxied, namespace) as watch:
        for number in range(20):
            sent = time.monotonic()
            kube.patch("ConfigMap", "seen", {"data": {"number": str(number)}}, namespace)
            assert watch.next()["object"]["data"]["number"] == str(number)
            assert time.monotonic() - sent < 2, "an event was held back"
        assert fault_proxy.running_watches(CONFIG_MAPS) == 1


def test_delay(proxied: Kube, fault_proxy: FaultProxy, namespace: str) -> None:
    with fault_proxy.fault(Delay(0.3), method="GET", path=CONFIG_MAPS) as rule:
        started = time.monotonic()
        proxied.list("ConfigMap", namespace)
        assert time.monotonic() - started >= 0.3
        assert rule.hits == 1
    assert [r.faults for r in fault_proxy.records(path=CONFIG_MAPS)] == [(Delay(0.3),)]


def test_drop_before_the_server_sees_it(
    kube: Kube, proxied: Kube, fault_proxy: FaultProxy, namespace: str
) -> None:
    proxied.resource("ConfigMap", "v1")  # discovery is a request, too
    fault_proxy.fault(Drop("before"), method="POST", times=1)

    with pytest.raises(urllib3.exceptions.ProtocolError):
        proxied.create(pods.config_map("a", namespace, {}))

    assert kube.find("ConfigMap", "a", namespace) is None
    assert proxied.create(pods.config_map("a", namespace, {}))["metadata"]["uid"], "the second try passes"


def test_drop_after_the_server_acted(
    kube: Kube, proxied: Kube, fault_proxy: FaultProxy, namespace: str
) -> None:
    """The case that makes writers idempotent: it failed for the client, and it was done."""
    fault_proxy.fault(Drop("after"), method="POST", times=1)

    with pytest.raises(urllib3.exceptions.ProtocolError):
        proxied.create(pods.config_map("a", namespace, {}))

    assert kube.find("ConfigMap", "a", namespace) is not None
    assert fault_proxy.records(method="POST")[0].status is None, "the client was told nothing"


def test_drop_amid_the_answer(proxied: Kube, fault_proxy: FaultProxy, namespace: str) -> None:
    with fault_proxy.fault(Drop("middle"), path=CONFIG_MAPS), pytest.raises(urllib3.exceptions.ProtocolError):
        proxied.list("ConfigMap", namespace)

    assert proxied.list("ConfigMap", namespace)


@pytest.mark.parametrize("code", [500, 503, 504])
def test_server_errors(proxied: Kube, fault_proxy: FaultProxy, namespace: str, code: int) -> None:
    fault_proxy.fault(Answer(code), path=CONFIG_MAPS, times=2)

    for _ in range(2):
        with pytest.raises(ApiError, match="injected by the fault proxy") as refused:
            proxied.list("ConfigMap", namespace)
        assert refused.value.code == code
    assert proxied.list("ConfigMap", namespace)


def test_too_many_requests_says_when_to_come_back(
    proxied: Kube, fault_proxy: FaultProxy, namespace: str
) -> None:
    fault_proxy.fault(Answer(429, retry_after=3), path=CONFIG_MAPS, times=1)

    with pytest.raises(ApiError) as refused:
        proxied.list("ConfigMap", namespace)

    assert (refused.value.code, refused.value.reason) == (429, "TooManyRequests")
    assert refused.value.headers["Retry-After"] == "3"
    assert refused.value.status["details"]["retryAfterSeconds"] == 3


def test_the_official_client_comes_back_after_too_many_requests(
    fault_proxy: FaultProxy, namespace: str, tmp_path: Any
) -> None:
    fault_proxy.fault(Answer(429, retry_after=1), path=CONFIG_MAPS, times=1)
    access = Access.from_kubeconfig(fault_proxy.kubeconfig(tmp_path / "official"), direct=True)

    with official.ApiClient(access.configuration) as api:
        found = official.CoreV1Api(api).list_namespaced_config_map(namespace)

    assert found.items
    first, second = fault_proxy.records(path=CONFIG_MAPS)
    assert (first.status, second.status) == (429, 200)
    assert second.started - first.started >= 1


def test_gone_as_the_answer_to_a_watch(
    kube: Kube, proxied: Kube, fault_proxy: FaultProxy, namespace: str
) -> None:
    fault_proxy.fault(Answer(410, "too old resource version"), watch=True, times=1)

    watch = Watching(proxied, namespace)

    error = watch.end()
    assert isinstance(error, ApiError)
    assert not isinstance(error, WatchError)
    assert (error.code, error.reason) == (410, "Expired")
    assert proxied.list("ConfigMap", namespace), "lists are not watches"


def test_error_event_in_a_running_watch(
    kube: Kube, proxied: Kube, fault_proxy: FaultProxy, namespace: str
) -> None:
    with watching(kube, proxied, namespace) as watch:
        assert fault_proxy.send_error_event(ErrorEvent(410), CONFIG_MAPS) == 1

        error = watch.end()

    assert isinstance(error, WatchError)
    assert (error.code, error.reason) == (410, "Expired")
    wait_for(lambda: fault_proxy.running_watches() == 0, "the watch on the API server to end")


@pytest.mark.parametrize("after", [0, 2])
def test_error_event_after_so_many_events(
    kube: Kube, proxied: Kube, fault_proxy: FaultProxy, namespace: str, after: int
) -> None:
    fault_proxy.fault(ErrorEvent(500, "etcd is away", after=after), watch=True, times=1)
    for name in ("a", "b", "c"):
        kube.create(pods.config_map(name, namespace, {}))
    seen: list[str] = []

    with pytest.raises(WatchError, match="etcd is away"):
        seen.extend(event["type"] for event in proxied.watch("ConfigMap", namespace, version="0"))

    assert seen == ["ADDED"] * after


def test_the_official_watch_sees_the_error_event(
    kube: Kube, fault_proxy: FaultProxy, namespace: str, tmp_path: Any
) -> None:
    fault_proxy.fault(ErrorEvent(410, after=1), watch=True)
    kube.create(pods.config_map("a", namespace, {}))
    access = Access.from_kubeconfig(fault_proxy.kubeconfig(tmp_path / "official"), direct=True)

    with official.ApiClient(access.configuration) as api:
        list_them = official.CoreV1Api(api).list_namespaced_config_map
        events = official_watch.Watch().stream(  # type: ignore[no-untyped-call]
            list_them, namespace, resource_version="1", timeout_seconds=5
        )
        with pytest.raises(official.ApiException) as refused:
            list(events)

    assert refused.value.status == 410


def test_cut_watches(kube: Kube, proxied: Kube, fault_proxy: FaultProxy, namespace: str) -> None:
    with watching(kube, proxied, namespace) as watch:
        assert fault_proxy.cut_watches("/pods") == 0, "only what matches is cut"
        assert fault_proxy.cut_watches(CONFIG_MAPS) == 1

        assert isinstance(watch.end(), urllib3.exceptions.ProtocolError)

    again = Watching(proxied, namespace)
    assert again.next()["type"] == "ADDED", "a new watch works"
    fault_proxy.cut_watches()
    again.end()


def test_a_watch_whose_client_left_ends_on_the_server_too(
    kube: Kube, proxied: Kube, fault_proxy: FaultProxy, namespace: str
) -> None:
    kube.create(pods.config_map("seen", namespace, {}))
    events = proxied.watch("ConfigMap", namespace, name="seen")
    assert next(iter(events))["type"] == "ADDED"
    assert fault_proxy.running_watches() == 1

    events.close()  # type: ignore[attr-defined]

    wait_for(lambda: fault_proxy.running_watches() == 0, "the proxy to end the watch")


def test_blackhole(proxied: Kube, fault_proxy: FaultProxy, namespace: str) -> None:
    proxied.resource("ConfigMap")
    hasty = Kube(proxied.access, timeout=0.5)
    hasty.discovery = proxied.discovery

    with fault_proxy.fault(Blackhole(), path=CONFIG_MAPS), pytest.raises(urllib3.exceptions.ReadTimeoutError):
        hasty.list("ConfigMap", namespace)

    assert hasty.list("ConfigMap", namespace)


def test_a_caller_with_a_token_has_its_own_rights(
    kube: Kube, fault_proxy: FaultProxy, namespace: str, tmp_path: Any
) -> None:
    kubeconfig = fault_proxy.kubeconfig(tmp_path / "token", token=kube.token("default", namespace))
    powerless = Kube(Access.from_kubeconfig(kubeconfig, direct=True))

    with pytest.raises(ApiError, match=f"system:serviceaccount:{namespace}:default"):
        powerless.get("Secret", "any", namespace)


def test_a_stopped_proxy_refuses_connections(kube: Kube, namespace: str, tmp_path: Any) -> None:
    with FaultProxy(kube.access) as proxy:
        client = Kube(Access.from_kubeconfig(proxy.kubeconfig(tmp_path / "gone"), direct=True))
        watch = Watching(client, namespace)
        wait_for(lambda: proxy.running_watches() == 1, "the watch to run")

    assert isinstance(watch.end(), urllib3.exceptions.HTTPError | None)
    with pytest.raises(urllib3.exceptions.HTTPError):
        client.get("ConfigMap", "any", namespace)
