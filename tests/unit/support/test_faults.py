"""Rules of the fault proxy: which requests meet which fault, and how often."""

from __future__ import annotations

import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.faults import Answer, Blackhole, Delay, Drop, ErrorEvent, Match, Request, Rules

PODS = "/api/v1/namespaces/n/pods"


@pytest.mark.parametrize(
    ("match", "request_", "expected"),
    [
        (Match(), Request("GET", PODS), True),
        (Match(method="PATCH"), Request("GET", PODS), False),
        (Match(path=r"/pods$"), Request("GET", PODS), True),
        (Match(path=r"/pods$"), Request("GET", PODS + "/a"), False),
        (Match(watch=True), Request("GET", PODS, {"watch": "true"}), True),
        (Match(watch=True), Request("GET", PODS, {"watch": "1"}), True),
        (Match(watch=True), Request("GET", PODS, {"watch": "false"}), False),
        (Match(watch=False), Request("GET", PODS, {"watch": "1"}), False),
        (
            Match(query={"fieldManager": "a"}),
            Request("PATCH", PODS, {"fieldManager": "a", "force": "true"}),
            True,
        ),
        (Match(query={"fieldManager": "a"}), Request("PATCH", PODS, {"fieldManager": "b"}), False),
        (Match(query={"fieldManager": "a"}), Request("PATCH", PODS), False),
    ],
)
def test_match(match: Match, request_: Request, expected: bool) -> None:
    assert match.matches(request_) is expected


def test_the_first_rule_that_decides_wins_and_later_ones_are_not_used_up() -> None:
    rules = Rules()
    delay = rules.add(Delay(1), Match(), times=1)
    answer = rules.add(Answer(503), Match(), times=1)
    drop = rules.add(Drop(), Match(), times=1)

    assert rules.take(Request("GET", PODS)) == [Delay(1), Answer(503)]
    assert rules.take(Request("GET", PODS)) == [Drop()]
    assert rules.take(Request("GET", PODS)) == []
    assert [rule.hits for rule in (delay, answer, drop)] == [1, 1, 1]


@given(times=st.integers(1, 20), requests=st.integers(0, 40))
def test_a_rule_meets_as_many_requests_as_it_says(times: int, requests: int) -> None:
    rules = Rules()
    rules.add(Blackhole(), Match(path="/pods"), times=times)

    met = sum(bool(rules.take(Request("GET", PODS))) for _ in range(requests))

    assert met == min(times, requests)
    assert rules.take(Request("GET", "/api/v1/nodes")) == []


def test_a_rule_lasts_until_removed() -> None:
    rules = Rules()
    with rules.add(Drop("after"), Match()) as rule:
        for _ in range(3):
            assert rules.take(Request("GET", PODS)) == [Drop("after")]
    assert rule.hits == 3
    assert rules.take(Request("GET", PODS)) == []
    rule.remove()  # again: nothing happens


def test_clear_removes_all_rules() -> None:
    rules = Rules()
    rules.add(Drop(), Match())
    rules.clear()
    assert rules.take(Request("GET", PODS)) == []


def test_no_times_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Rules().add(Drop(), Match(), times=0)


def test_requests_at_once_do_not_share_one_use() -> None:
    rules = Rules()
    rules.add(Drop(), Match(), times=100)
    met: list[int] = []

    def take() -> None:
        met.extend(len(rules.take(Request("GET", PODS))) for _ in range(50))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(met) == 100


def test_an_answer_is_a_status_of_the_api() -> None:
    body = json.loads(Answer(429, "slow down", retry_after=3).body())

    assert body["kind"] == "Status"
    assert (body["code"], body["reason"], body["message"]) == (429, "TooManyRequests", "slow down")
    assert body["details"] == {"retryAfterSeconds": 3}


def test_an_error_event_is_one_line() -> None:
    line = ErrorEvent(410, "too\nold").line()

    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    event = json.loads(line)
    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
