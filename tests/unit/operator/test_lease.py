"""The Lease: who leads, who waits, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest

from speechless_operator.desired.objects import Object
from speechless_operator.runtime import lease as lease_module
from speechless_operator.runtime.client import ApiError
from speechless_operator.runtime.lease import Elector, LeaseLostError
from tests.unit.operator.seen import run


class Server:
    """Keeps one Lease as the API server does."""

    def __init__(self, lease: Object | None = None) -> None:
        self.lease, self.away = lease, False

    async def get(self, resource: Any, namespace: str, name: str) -> Object:
        if self.away:
            raise ApiError(0, "no answer", "GET")
        if self.lease is None:
            raise ApiError(404, "not found", "GET")
        return self.lease | {"spec": dict(self.lease.get("spec") or {})}

    async def create(self, resource: Any, namespace: str, obj: Object) -> Object:
        self.lease = obj
        return obj

    async def replace(self, resource: Any, namespace: str, obj: Object) -> Object:
        self.lease = obj
        return obj


class Clock:
    """Moves when somebody sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.naps = 1000.0, 0
        self.at_nap: dict[int, Any] = {}
        monkeypatch.setattr(lease_module, "monotonic", lambda: self.now)
        monkeypatch.setattr(lease_module, "sleep", self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.now += seconds
        self.naps += 1
        if self.naps in self.at_nap:
            self.at_nap[self.naps]()


def elector(server: Server, identity: str = "me") -> Elector:
    """One replica."""
    return Elector(server, namespace="system", name="speechless-operator", identity=identity)  # type: ignore[arg-type]


def held_by(holder: str, renewed: str = "1") -> Object:
    """A Lease."""
    spec = {"holderIdentity": holder, "renewTime": renewed, "acquireTime": "at noon", "leaseTransitions": 3}
    return {"metadata": {"name": "speechless-operator"}, "spec": spec}


def test_one_that_nobody_holds_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    server = Server()
    run(elector(server).acquire())
    assert server.lease is not None
    assert server.lease["spec"]["holderIdentity"] == "me"
    assert server.lease["spec"]["leaseTransitions"] == 0


def test_one_that_somebody_made_without_a_spec_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    server = Server({"metadata": {"name": "speechless-operator"}, "spec": None})
    run(elector(server).acquire())
    assert server.lease is not None
    assert server.lease["spec"]["holderIdentity"] == "me"


def test_a_standby_says_who_leads_once_and_when_it_is_another_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    clock, server = Clock(monkeypatch), Server(held_by("release-a"))

    def renewed(by: str) -> Any:
        def now() -> None:
            server.lease = held_by(by, str(clock.now))

        return now

    clock.at_nap = {n: renewed("release-a") for n in range(1, 6)} | {n: renewed("b") for n in range(6, 9)}
    run(elector(server).acquire())
    said = [record.message for record in caplog.records]
    assert len([text for text in said if "is held by release-a since at noon" in text]) == 1
    assert len([text for text in said if "is held by b since at noon" in text]) == 1
    assert "leading" in said[-1]
    assert clock.now - 1000 > 2 * 8 + 15, "not before it had not changed for its duration"


def test_an_api_server_that_is_away_costs_the_lease_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, server = Clock(monkeypatch), Server()
    leader = elector(server)
    run(leader.acquire())
    clock.at_nap = {3: lambda: setattr(server, "away", True)}
    with pytest.raises(LeaseLostError):
        run(leader.keep())
    assert not leader.leading
    assert clock.now == 1000 + 2 * 2 + 10


def test_a_loop_that_is_begun_again_gets_no_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, server = Clock(monkeypatch), Server()
    leader = elector(server)
    run(leader.acquire())
    clock.now += 60
    server.away = True
    with pytest.raises(LeaseLostError):
        run(leader.keep())


def test_another_ones_lease_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    server = Server()
    leader = elector(server)
    run(leader.acquire())
    server.lease = held_by("another")
    with pytest.raises(LeaseLostError):
        run(leader.keep())


def test_it_is_given_back_if_it_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    server = Server()
    leader = elector(server)
    run(leader.acquire())
    run(leader.release())
    assert server.lease is not None
    assert server.lease["spec"]["holderIdentity"] == ""
    server.lease = held_by("another")
    run(leader.release())
    assert server.lease["spec"]["holderIdentity"] == "another"
