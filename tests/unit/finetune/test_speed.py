"""Tokens a second and MFU, against numbers that were worked out by hand."""

import pytest

from speechless.finetune.speed import Cost, Speed, peak_of


def test_what_a_token_costs() -> None:
    whole = Cost(parameters=7_000_000_000, trained=7_000_000_000, layers=32, attention=4096, full=True)
    assert whole.flops(2048) == 6 * 7e9 + 12 * 32 * 4096 * 2048
    adapters = Cost(parameters=7_000_000_000, trained=40_000_000, layers=32, attention=4096, full=False)
    assert adapters.flops(2048) == 4 * 7e9 + 6 * 40e6 + 12 * 32 * 4096 * 2048


def test_tokens_a_second_and_mfu_between_two_looks() -> None:
    times = iter([0.0, 2.0, 2.5, 2.5])
    speed = Speed(100, 8, flops_a_token=1e9, peak=4e12, clock=lambda: next(times))
    assert speed.look(10) == {}
    assert speed.look(12) == {"tokens_per_second": 800.0, "mfu": pytest.approx(0.2)}
    assert speed.look(13)["tokens_per_second"] == 1600.0
    assert speed.look(13) == {}


def test_a_device_that_is_not_known_has_no_mfu() -> None:
    assert peak_of("NVIDIA H100 80GB HBM3") == 989e12
    assert peak_of("NVIDIA H100 PCIe") == 756e12
    assert peak_of("NVIDIA A100-SXM4-80GB") == 312e12
    assert peak_of("NVIDIA L40S") == 362e12
    assert peak_of("NVIDIA GeForce GTX 970") is None
