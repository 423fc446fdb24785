"""What is said of samples: each caution where it belongs, none where nothing is wrong."""

from __future__ import annotations

import itertools
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.stats.stability import Caution, cautions, is_unstable, spread_of, trend_p

CALM = ((1.0, 1.01), (0.99, 1.0), (1.01, 1.0), (1.0, 0.99))
PROCESSES = st.lists(
    st.lists(st.floats(0.001, 1000), min_size=1, max_size=5), min_size=1, max_size=9
)


def said(*processes: tuple[float, ...]) -> set[Caution]:
    return {one.caution for one in cautions(processes)}


def line_of(caution: Caution, *processes: tuple[float, ...]) -> str:
    return next(one.line for one in cautions(processes) if one.caution is caution)


def test_calm_samples_need_no_caution() -> None:
    assert said(*CALM) == set()
    assert not is_unstable(CALM)


@pytest.mark.parametrize("caution", Caution)
def test_every_caution_has_a_sentence_and_advice(caution: Caution) -> None:
    assert caution.sentence[0].islower()
    assert caution.advice
    assert not caution.sentence.endswith(".")


def test_a_spread_of_a_twentieth_is_noisy_and_of_a_tenth_unstable() -> None:
    noisy = ((1.0,) * 2, (1.08,) * 2, (0.93,) * 2, (1.04,) * 2)
    unstable = ((1.0,) * 2, (1.1,) * 2, (0.9,) * 2, (1.2,) * 2)
    assert said(*noisy) == {Caution.NOISY}
    assert said(*unstable) == {Caution.UNSTABLE}
    assert is_unstable(unstable)
    assert not is_unstable(noisy)
    assert "unstable (by 14%)" in line_of(Caution.UNSTABLE, *unstable)


def test_processes_that_agree_are_stable_however_their_samples_differ() -> None:
    processes = ((0.8, 1.0, 1.2),) * 4
    assert spread_of(processes) == 0
    assert spread_of(processes[:1]) == pytest.approx(1.4826 * 0.2)


def test_a_burst_over_half_of_the_processes_is_unstable() -> None:
    quiet = random.Random(4)
    burst = [[quiet.gauss(1.3 if n % 2 else 1, 0.01) for _ in range(2)] for n in range(4)]
    assert Caution.UNSTABLE in said(*map(tuple, burst))


def test_a_burst_over_one_sample_is_an_outlier_that_stays_in_the_median() -> None:
    assert said(*CALM[1:], (1.0, 1.3)) == {Caution.OUTLIERS}
    assert "1 of 8, kept" in line_of(Caution.OUTLIERS, *CALM[1:], (1.0, 1.3))


def test_a_sample_that_took_half_as_long_again_is_extreme_too() -> None:
    assert said(*CALM[1:], (1.0, 1.6)) == {Caution.OUTLIERS, Caution.EXTREME}
    assert said(*CALM[1:], (1.0, 0.4)) == {Caution.OUTLIERS, Caution.EXTREME}
    line = line_of(Caution.EXTREME, *CALM[1:], (1.0, 1.6))
    assert "1 of 8, one 1.6 times the median" in line


def test_samples_of_no_spread_have_outliers_only_where_something_is_far_off() -> None:
    equal = ((2.0, 2.0),) * 3
    assert said(*equal, (2.0, 2.0)) == set()
    assert said(*equal, (2.0, 2.01)) == set()
    assert said(*equal, (2.0, 2.2)) == {Caution.OUTLIERS}


def test_a_first_sample_that_is_slow_everywhere_is_said_and_once_is_not() -> None:
    assert said(*((1.08, 1.0, 1.02),) * 4) == {Caution.SLOW_START}
    assert Caution.SLOW_START not in said((1.08, 1.0), *CALM[1:])
    assert Caution.SLOW_START not in said(*((1.02, 1.0),) * 4)
    assert Caution.SLOW_START not in said(*((1.08,),) * 4)


@pytest.mark.parametrize(("step", "word"), [(0.03, "slower"), (-0.03, "faster")])
def test_processes_that_get_slower_or_faster_one_by_one_drift(step: float, word: str) -> None:
    processes = tuple((1 + step * n,) * 2 for n in range(4))
    assert said(*processes) == {Caution.DRIFT}
    assert f"9% {word} from the first to the last of 4" in line_of(Caution.DRIFT, *processes)


def test_what_drifts_by_less_than_a_twentieth_or_in_no_order_does_not() -> None:
    assert said(*((1 + 0.01 * n,) * 2 for n in range(4))) == set()
    assert said((1.0, 1.0), (1.06, 1.06), (1.02, 1.02), (1.08, 1.08)) == set()


def test_a_drift_is_seen_among_more_processes_although_some_are_out_of_order() -> None:
    medians = (1.0, 1.03, 1.02, 1.05, 1.04, 1.08, 1.09, 1.07)
    assert said(*((one, one) for one in medians)) == {Caution.DRIFT}


def test_one_process_or_few_samples_are_too_few() -> None:
    assert said((1.0,) * 8) == {Caution.TOO_FEW}
    assert said(*((1.0,),) * 4) == {Caution.TOO_FEW}
    assert said(*((1.0, 1.0),) * 4) == set()
    assert "3 in 1; it takes 8 in 3 processes" in line_of(Caution.TOO_FEW, (1.0,) * 3)


@pytest.mark.parametrize("processes", [(), ((),), ((1.0,), ()), ((1.0, 0.0),)])
def test_says_nothing_of_nothing(processes: tuple[tuple[float, ...], ...]) -> None:
    with pytest.raises(ValueError, match="needs samples"):
        cautions(processes)


@pytest.mark.parametrize("noise", [0.002, 0.01])
def test_calm_machines_are_rarely_called_anything(noise: float) -> None:
    """Of studies whose processes and samples scatter by one per cent at most, one in ten."""
    lot = random.Random(6)
    seen = 0
    for _ in range(200):
        lucks = [lot.gauss(1, noise) for _ in range(4)]
        seen += bool(cautions([[luck * lot.gauss(1, noise) for _ in range(2)] for luck in lucks]))
    assert seen <= 20


@given(PROCESSES, st.integers(-8, 8))
def test_cautions_do_not_depend_on_the_unit_of_time(
    processes: list[list[float]], power: int
) -> None:
    other = [[one * 2.0**power for one in process] for process in processes]
    assert cautions(processes) == cautions(other)


def listed_p(values: list[int]) -> float:
    """The same p by listing every order, as a check on the counting."""

    def excess(order: tuple[int, ...]) -> int:
        pairs = itertools.combinations(order, 2)
        return abs(sum((b > a) - (b < a) for a, b in pairs))

    return statistics.mean(
        excess(order) >= excess(tuple(values)) for order in itertools.permutations(values)
    )


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_p_of_a_trend_is_that_of_listing_every_order_and_with_ties_no_less(
    values: list[int],
) -> None:
    found = trend_p([float(one) for one in values])
    if len(set(values)) == len(values):
        assert found == pytest.approx(listed_p(values))
    assert found >= listed_p(values) - 1e-9
