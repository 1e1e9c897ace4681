"""Wilson's interval, against published values."""

import pytest

from speechless.eval.interval import wilson


@pytest.mark.parametrize(
    ("passed", "total", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_published_values(passed: int, total: int, low: float, high: float) -> None:
    assert wilson(passed, total) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("passed", "total"), [(1, 0), (0, 0), (3, 2), (-1, 2)])
def test_no_share_is_refused(passed: int, total: int) -> None:
    with pytest.raises(ValueError, match="is no share"):
        wilson(passed, total)


def test_all_and_none_are_no_certainty() -> None:
    assert wilson(100, 100)[0] < 1 == wilson(100, 100)[1]
    assert wilson(0, 100)[0] == 0 < wilson(0, 100)[1]
