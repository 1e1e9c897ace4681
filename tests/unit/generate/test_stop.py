"""Stop strings in a text that grows."""

import random

import pytest

from speechless.generate.stop import Cutter, first_stop


def test_the_earliest_stop_counts() -> None:
    assert first_stop("a b c", ["c", "b"]) == 2
    assert first_stop("a b c", ["x"]) is None
    assert first_stop("a", []) is None


def grow(text: str, stops: list[str], sizes: list[int]) -> str:
    """Feed a text in steps and return what was sent."""
    cutter = Cutter(stops)
    sent = "".join(cutter.feed(text[:size]) for size in sizes)
    return sent + cutter.feed(text, last=True)


@pytest.mark.parametrize("seed", range(20))
def test_however_it_grows_the_same_is_sent(seed: int) -> None:
    chance = random.Random(seed)
    text = "".join(chance.choices("ab\n", k=40))
    stops = ["\nab", "bb\n"]
    sizes = sorted(chance.sample(range(len(text) + 1), 10))
    end = first_stop(text, stops)
    assert grow(text, stops, sizes) == text[:end]


def test_what_may_become_a_stop_is_held_back() -> None:
    cutter = Cutter(["\ndef"])
    assert cutter.feed("x = 1\nd") == "x = 1"
    assert cutter.feed("x = 1\nde") == ""
    assert cutter.feed("x = 1\ndog") == "\ndog"
    assert not cutter.stopped


def test_after_a_stop_nothing_comes() -> None:
    cutter = Cutter(["!"])
    assert cutter.feed("a!b") == "a"
    assert cutter.stopped
    assert cutter.feed("a!bc", last=True) == ""


def test_half_a_character_is_held_back_until_the_end() -> None:
    cutter = Cutter()
    assert cutter.feed("a\N{REPLACEMENT CHARACTER}") == "a"
    assert cutter.feed("aé") == "é"
    assert cutter.feed("aé\N{REPLACEMENT CHARACTER}", last=True) == "\N{REPLACEMENT CHARACTER}"
