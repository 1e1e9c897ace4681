"""Sampling parameters that nobody can do are refused."""

from typing import Any

import pytest

from speechless.generate import Sampling


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1, "temperature": -0.1}, "temperature"),
        ({"max_tokens": 1, "top_p": 0}, "top_p"),
        ({"max_tokens": 1, "stop": ("a", "")}, "stop string is empty"),
    ],
)
def test_it_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Sampling(**fields)
