"""Loops that go on."""

from __future__ import annotations

import pytest

from speechless_operator.runtime import metrics, supervise
from speechless_operator.runtime.supervise import Patience, supervised
from tests.unit.operator.seen import run


def failures(loop: str) -> float:
    """How often a loop failed."""
    return metrics.REGISTRY.get_sample_value("speechless_operator_loop_failures_total", {"loop": loop}) or 0.0


def test_a_loop_that_fails_is_told_counted_and_run_again(caplog: pytest.LogCaptureFixture) -> None:
    tries: list[int] = []

    async def loop() -> None:
        tries.append(1)
        if len(tries) < 4:
            raise KeyError("speechless.dev/uid")

    before = failures("a loop")
    run(supervised("a loop", loop, delays=(0.001,)))
    assert len(tries) == 4
    assert failures("a loop") - before == 3
    assert "a loop failed" in caplog.text
    assert "KeyError: 'speechless.dev/uid'" in caplog.text


def test_what_is_fatal_ends_it() -> None:
    async def loop() -> None:
        raise ConnectionError("lost")

    with pytest.raises(ConnectionError):
        run(supervised("b", loop, fatal=(ConnectionError,)))


def test_patience_grows_never_ends_and_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise.random, "uniform", lambda a, b: 1.0)
    patience = Patience((1, 2, 5))
    assert [patience.next() for _ in range(5)] == [1, 2, 5, 5, 5]
    assert patience.next(at_least=30) == 30
    patience.reset()
    assert patience.next() == 1
