"""Pairs on a machine whose speed wanders: what they find, and how often they are wrong."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.stats.compare import Verdict, compare
from autotune.stats.pairs import FEWEST_PAIRS, compare_pairs, signed_rank_p


def wandering(generator: random.Random, ratio: float, pairs: int = 8) -> Verdict:
    """The verdict of processes in turns, where the machine is up to half again as slow."""
    ours, theirs = [], []
    for _ in range(pairs):
        now = generator.uniform(1.0, 1.5)
        ours.append([now * generator.gauss(1.0, 0.02)])
        theirs.append([now * ratio * generator.gauss(1.0, 0.02)])
    return compare(ours, theirs).verdict


@pytest.mark.parametrize(("ratio", "verdict"), [(1.15, Verdict.FASTER), (0.87, Verdict.SLOWER)])
def test_pairs_see_an_effect_that_the_machine_hides(ratio: float, verdict: Verdict) -> None:
    generator = random.Random(1)
    found = Counter(wandering(generator, ratio) for _ in range(200))
    assert found[verdict] >= 190
    alone = Counter(wandering(generator, ratio, pairs=4) for _ in range(200))
    assert alone[verdict] < 100


@pytest.mark.parametrize("pairs", [4, 8])
def test_pairs_of_identical_candidates_are_rarely_called_different(pairs: int) -> None:
    generator = random.Random(2)
    found = Counter(wandering(generator, 1.0, pairs) for _ in range(400))
    assert found[Verdict.FASTER] <= 20
    assert found[Verdict.SLOWER] <= 20


def test_pairs_that_disagree_say_nothing() -> None:
    """Each is faster, and by how much nobody could say: M8."""
    machine = [1.0, 3.0, 1.2, 2.8, 1.5, 2.2, 2.5, 1.8]
    gains = [1.04, 1.9, 1.05, 1.7, 1.06, 1.5, 1.2, 1.4]
    ours = [[one] for one in machine]
    theirs = [[one * gain] for one, gain in zip(machine, gains, strict=True)]
    assert compare_pairs(machine, [one for (one,) in theirs]).p < 0.01
    assert compare(ours, theirs).verdict is Verdict.CANNOT_SAY


def test_pairs_that_agree_are_the_same() -> None:
    times = [1.0, 1.4, 1.1, 1.3, 1.2, 1.25]
    ours, theirs = [[one] for one in times], [[one * 1.01] for one in times]
    found = compare(ours, theirs)
    assert (found.verdict, found.paired) == (Verdict.SAME, True)
    assert found.ratio == pytest.approx(1.01)


def test_pairs_give_their_own_ratio_and_interval() -> None:
    found = compare_pairs([1.0] * FEWEST_PAIRS, [1.1, 1.2, 1.1, 1.15, 1.12, 1.18])
    assert 1.1 <= found.low < found.ratio < found.high <= 1.2
    assert found.p == pytest.approx(2 / 2**FEWEST_PAIRS)


@given(st.lists(st.integers(-6, 6), max_size=8))
def test_the_p_of_signed_ranks_is_that_of_all_signs(differences: list[int]) -> None:
    sized = [one for one in differences if one]
    sizes = sorted(map(abs, sized))
    ranks = [sizes.index(abs(one)) + (sizes.count(abs(one)) + 1) / 2 for one in sized]
    whole = sum(ranks) / 2
    seen = abs(sum(rank for rank, one in zip(ranks, sized, strict=True) if one > 0) - whole)
    every = [
        abs(sum(itertools.compress(ranks, signs)) - whole)
        for signs in itertools.product((0, 1), repeat=len(ranks))
    ]
    p = sum(one >= seen - 1e-9 for one in every) / len(every)
    assert math.isclose(signed_rank_p(differences), p)


@given(
    st.lists(
        st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), min_size=FEWEST_PAIRS, max_size=12
    )
)
def test_the_interval_leaves_out_one_exactly_where_the_test_says_so(
    pairs: list[tuple[float, float]],
) -> None:
    ours, theirs = zip(*pairs, strict=True)
    found = compare_pairs(ours, theirs)
    back = compare_pairs(theirs, ours)
    assert found.low <= found.ratio <= found.high
    assert math.isclose(found.ratio * back.ratio, 1)
    logs = [abs(math.log(b / a)) for a, b in pairs]
    if len(set(logs)) == len(logs) and all(logs):
        assert (found.p < 0.05) == (found.low > 1 or found.high < 1)


@pytest.mark.parametrize("bad", [([], []), ([1.0], [0.0]), ([1.0], [1.0, 2.0])])
def test_what_is_no_pair_is_refused(bad: tuple[list[float], list[float]]) -> None:
    with pytest.raises(ValueError, match=r"pairs need times|shorter|longer"):
        compare_pairs(*bad)
