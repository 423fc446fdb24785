"""Medians, spread and intervals, with MAD = 0 and single samples among them."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.stats.summary import MAD_TO_SIGMA, UNSTABLE_SPREAD, bootstrap_interval, summarize

SAMPLES = st.lists(st.floats(0.001, 1000), min_size=1, max_size=12)


def test_summarizes_by_median_and_mad() -> None:
    found = summarize([1.0, 2.0, 3.0, 4.0, 100.0])
    assert (found.count, found.median, found.mad) == (5, 3.0, 1.0)
    assert found.spread == pytest.approx(MAD_TO_SIGMA / 3)
    assert found.low <= found.median <= found.high


def test_samples_that_are_all_equal_have_no_spread() -> None:
    found = summarize([2.0] * 7)
    assert (found.mad, found.spread, found.low, found.high) == (0.0, 0.0, 2.0, 2.0)


def test_a_mad_of_zero_hides_no_error() -> None:
    found = summarize([2.0, 2.0, 2.0, 2.0, 9.0])
    assert (found.mad, found.spread) == (0.0, 0.0)


def test_one_sample_is_its_own_summary() -> None:
    found = summarize([0.5])
    assert (found.median, found.low, found.high, found.spread) == (0.5, 0.5, 0.5, 0.0)


def test_a_median_of_zero_has_no_share() -> None:
    assert summarize([0.0, 0.0]).spread == 0.0


def test_noise_bursts_are_seen_as_unstable() -> None:
    assert summarize([1.0, 1.3, 0.8, 1.25, 0.75, 1.0]).spread > UNSTABLE_SPREAD


def test_refuses_to_summarize_nothing() -> None:
    with pytest.raises(ValueError, match="no samples"):
        summarize([])


def test_the_interval_is_the_same_for_the_same_seed() -> None:
    samples = [1.0, 1.1, 0.9, 1.2, 1.05]
    assert bootstrap_interval(samples, seed=3) == bootstrap_interval(samples, seed=3)


@given(SAMPLES)
def test_the_interval_holds_the_median_and_lies_within_the_samples(samples: list[float]) -> None:
    found = summarize(samples)
    assert min(samples) <= found.low <= found.high <= max(samples)
    assert found.low <= statistics.median(samples) <= found.high
