"""Verdicts on planted effects, on identical candidates, and on degenerate samples."""

from __future__ import annotations

import itertools
import math
import random
import statistics
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.stats.compare import Verdict, compare, rank_sum_p


def simulate(
    generator: random.Random, middle: float, *, noise: float = 0.01, processes: int = 4
) -> list[list[float]]:
    """Fresh processes with luck of their own, and samples that scatter around it."""
    lucks = [generator.gauss(1, noise) for _ in range(processes)]
    return [[middle * luck * generator.gauss(1, noise / 2) for _ in range(5)] for luck in lucks]


@pytest.mark.parametrize("processes", [4, 8])
@pytest.mark.parametrize("noise", [0.002, 0.01, 0.05])
def test_identical_candidates_are_rarely_called_faster(noise: float, processes: int) -> None:
    """The A/A test of the measuring rules: 200 studies, at most 5 %."""
    generator = random.Random(1)
    verdicts = [
        compare(
            simulate(generator, 1.0, noise=noise, processes=processes),
            simulate(generator, 1.0, noise=noise, processes=processes),
        ).verdict
        for _ in range(200)
    ]
    assert verdicts.count(Verdict.FASTER) <= 10
    assert verdicts.count(Verdict.SLOWER) <= 10


@pytest.mark.parametrize(("factor", "verdict"), [(0.9, Verdict.FASTER), (1.1, Verdict.SLOWER)])
def test_a_planted_effect_of_ten_percent_is_found(factor: float, verdict: Verdict) -> None:
    generator = random.Random(2)
    found = [
        compare(simulate(generator, factor), simulate(generator, 1.0)).verdict for _ in range(200)
    ]
    assert found.count(verdict) >= 190


def test_candidates_within_three_percent_are_the_same() -> None:
    ours = [[1.0], [1.005], [0.995], [1.0]]
    theirs = [[1.01], [1.0], [1.005], [1.01]]
    assert compare(ours, theirs).verdict is Verdict.SAME


def test_a_clear_effect_below_three_percent_is_not_worth_a_lever() -> None:
    ours = [[1.0], [1.001], [0.999], [1.0]]
    theirs = [[1.02], [1.021], [1.019], [1.02]]
    found = compare(ours, theirs)
    assert found.p < 0.05
    assert found.verdict is Verdict.SAME


def test_too_few_processes_cannot_say() -> None:
    found = compare([[1.0]] * 3, [[2.0]] * 3)
    assert found.verdict is Verdict.CANNOT_SAY
    assert "more processes" in found.why


def test_overlapping_processes_cannot_say() -> None:
    ours = [[0.7], [0.8], [0.9], [1.2]]
    theirs = [[1.0], [1.1], [1.2], [1.3]]
    assert compare(ours, theirs).verdict is Verdict.CANNOT_SAY


def test_one_sample_far_out_does_not_change_a_median() -> None:
    clean = [[1.0, 1.0, 1.0, 1.0, 1.0]] * 4
    burst = [[1.0, 1.0, 50.0, 1.0, 1.0]] * 4
    assert compare(burst, clean).verdict is Verdict.SAME


def test_processes_without_any_spread_are_compared() -> None:
    found = compare([[1.0, 1.0]] * 4, [[2.0, 2.0]] * 4)
    assert found.verdict is Verdict.FASTER
    assert (found.ratio, found.low, found.high) == (2.0, 2.0, 2.0)
    assert compare([[1.0]] * 4, [[1.0]] * 4).verdict is Verdict.SAME


def test_the_ratio_is_that_of_the_medians_of_the_processes() -> None:
    ours, theirs = [[1.0, 3.0, 2.0], [4.0]], [[6.0], [6.0, 12.0]]
    found = compare(ours, theirs)
    assert found.ratio == 7.5 / 3.0
    assert (found.low, found.high) == (6.0 / 4.0, 9.0 / 2.0)


APART = st.lists(st.integers(1, 1000), min_size=2, max_size=16, unique=True)


@given(APART, st.data())
def test_the_interval_leaves_out_one_exactly_where_the_ranks_are_apart(
    times: list[int], data: st.DataObject
) -> None:
    size = data.draw(st.integers(1, len(times) - 1))
    found = compare([[float(one)] for one in times[:size]], [[float(one)] for one in times[size:]])
    few = math.comb(len(times), size) <= 40  # no order of so few has a p below 0.05
    assert few or (found.p < 0.05) == (found.low > 1 or found.high < 1)
    assert found.low <= found.ratio <= found.high


def test_up_to_four_processes_a_side_the_interval_holds_every_ratio() -> None:
    found = compare([[1.0], [2.0], [3.0], [4.0]], [[8.0], [9.0], [10.0], [12.0]])
    assert (found.low, found.high) == (2.0, 12.0)
    assert found.why == "every process was faster than every process of the baseline"


def test_of_eight_processes_a_side_one_that_is_slow_does_not_hide_an_effect() -> None:
    ours = [[0.9 + 0.001 * n] for n in range(7)] + [[1.2]]
    theirs = [[1.0 + 0.001 * n] for n in range(8)]
    found = compare(ours, theirs)
    assert found.verdict is Verdict.FASTER
    assert found.why.startswith("most processes were faster than most (p = 0.0")
    assert found.low > 1


def test_twice_the_processes_find_an_effect_that_half_of_them_often_miss() -> None:
    """What ``--effort thorough`` is for: a gain of five per cent under two per cent of noise."""
    generator, found = random.Random(7), {}
    for processes in (4, 8):
        verdicts = [
            compare(
                simulate(generator, 1 / 1.05, noise=0.02, processes=processes),
                simulate(generator, 1.0, noise=0.02, processes=processes),
            ).verdict
            for _ in range(200)
        ]
        found[processes] = verdicts.count(Verdict.FASTER)
    assert found[4] < 0.8 * 200
    assert found[8] > 0.9 * 200


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [([], [[1.0]]), ([[1.0]], []), ([[]], [[1.0]]), ([[0.0]], [[1.0]]), ([[1.0]], [[0.0]])],
)
def test_refuses_to_compare_nothing(ours: list[list[float]], theirs: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="median"):
        compare(ours, theirs)


def listed_p(first: list[float], second: list[float]) -> float:
    """The same p by listing every subset, as a check on the counting."""
    pooled = sorted([*first, *second])
    rank = {
        value: statistics.mean(n + 1 for n, other in enumerate(pooled) if other == value)
        for value in pooled
    }
    ranks = [rank[value] for value in (*first, *second)]
    expected = len(first) * (len(ranks) + 1) / 2
    observed = abs(sum(ranks[: len(first)]) - expected)
    sums = [sum(subset) for subset in itertools.combinations(ranks, len(first))]
    return sum(abs(one - expected) >= observed - 1e-9 for one in sums) / len(sums)


SIDE = st.lists(st.integers(1, 6).map(float), min_size=1, max_size=5)


@given(SIDE, SIDE)
def test_p_equals_that_of_listing_every_subset(first: list[float], second: list[float]) -> None:
    assert rank_sum_p(first, second) == pytest.approx(listed_p(first, second))


@given(SIDE, SIDE)
def test_p_does_not_depend_on_the_side(first: list[float], second: list[float]) -> None:
    assert rank_sum_p(first, second) == pytest.approx(rank_sum_p(second, first))
    assert 0 < rank_sum_p(first, second) <= 1


@pytest.mark.parametrize(("size", "p"), [(3, 0.1), (4, 2 / 70), (5, 2 / 252), (8, 2 / 12870)])
def test_p_of_a_complete_separation(size: int, p: float) -> None:
    assert rank_sum_p([1.0 + n for n in range(size)], [100.0 + n for n in range(size)]) == (
        pytest.approx(p)
    )


def test_p_of_many_processes_is_counted_not_listed() -> None:
    generator = random.Random(3)
    sides = [[generator.random() for _ in range(32)] for _ in range(2)]
    start = time.process_time()
    assert 0 < rank_sum_p(*sides) <= 1
    assert rank_sum_p([1.0] * 32, [1.0] * 32) == 1
    assert rank_sum_p(list(map(float, range(32))), list(map(float, range(32, 64)))) == (
        pytest.approx(2 / math.comb(64, 32))
    )
    # Listing 64 choose 32 subsets would take longer than there is.
    assert time.process_time() - start < 5
