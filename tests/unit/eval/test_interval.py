"""Wilson's interval, against published values."""

import pytest

from speechless.eval.interval import of_mean, wilson


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


def test_a_mean_of_passes_is_wilsons_and_of_parts_a_bootstrap() -> None:
    assert of_mean([1.0, 0.0, 0.0]) == wilson(1, 3)
    assert of_mean([1.0] * 20) == wilson(20, 20)
    assert of_mean([0.5] * 10) == wilson(5, 10)
    values = [0.2, 0.4, 0.9, 1.0, 0.0, 0.5] * 20
    low, high = of_mean(values)
    # The standard error of the mean of so many: 0.0327.
    assert (low, high) == pytest.approx((0.5 - 1.96 * 0.0327, 0.5 + 1.96 * 0.0327), abs=0.01)
    assert of_mean(values) == (low, high)


@pytest.mark.parametrize("values", [[], [1.5], [-0.1, 0.3], [float("nan")]])
def test_what_is_no_score_has_no_interval(values: list[float]) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        of_mean(values)
