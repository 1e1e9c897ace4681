"""What a client says, as a person may read it."""

from __future__ import annotations

import pytest

from speechless.store.problems import first_line


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("Generic error\n\nDebug source:\nlong", "Generic error"),
        ("", "ValueError"),
        (
            "Error performing GET https://a.blob.example/c/x?sv=2024&sig=SECRET in 3 ms",
            "Error performing GET https://a.blob.example/c/x?... in 3 ms",
        ),
    ],
)
def test_a_line_without_what_may_be_a_key(said: str, line: str) -> None:
    assert first_line(ValueError(said)) == line
