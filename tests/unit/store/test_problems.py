"""What a client says, as a person may read it."""

from __future__ import annotations

import pytest
from obstore.exceptions import GenericError

from speechless.contract import FailureReason, storage
from speechless.errors import StageError
from speechless.store.problems import bucket_answers, first_line


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


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            "Error performing HEAD http://127.0.0.1:403/b/x in 401.246µs - HTTP error",
            FailureReason.STORE_UNAVAILABLE,
        ),
        (
            "Error performing PUT http://127.0.0.1:80/b/x in 507.1ms - HTTP error",
            FailureReason.STORE_UNAVAILABLE,
        ),
        ("Server returned non-2xx status code: 403 Forbidden:", FailureReason.INPUT_FORBIDDEN),
        ("Server returned non-2xx status code: 507 Insufficient Storage:", FailureReason.STORE_FULL),
    ],
)
def test_only_a_status_is_a_status(said: str, reason: FailureReason) -> None:
    """As obstore 0.12 writes them: how long it took and the port stand in the same line."""
    with pytest.raises(StageError) as told, bucket_answers("s3://b-b/x", storage.SCHEMES["s3"], {}):
        raise GenericError(said)
    assert told.value.reason is reason
