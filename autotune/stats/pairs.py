"""Two candidates that ran in turns, compared pair by pair: what slowed both of a pair cancels out.

On a machine whose speed wanders, processes of one candidate differ by more than the candidates do;
two that ran one after the other do not (M12, M15).
"""

from __future__ import annotations

import bisect
import itertools
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autotune.stats.summary import MAD_TO_SIGMA, UNSTABLE_SPREAD, mad_of

#: The chance of such a difference between identical candidates, two-sided. Small, since processes
#: were compared before, one by one: this is another look at them.
PAIRED_P = 0.01
#: Of the interval, and how many pairs it takes for there to be one.
_CONFIDENCE_P, FEWEST_PAIRS = 0.05, 6


@dataclass(frozen=True, kw_only=True)
class Paired:
    """The ratio of the second to the first, its 95 % interval, and the p of there being none.

    ``spread`` is by which share the ratios differ from pair to pair, in robust deviations.
    """

    ratio: float
    low: float
    high: float
    p: float
    spread: float

    @property
    def clear(self) -> bool:
        """Whether identical candidates would hardly differ so, and the pairs agree (M8)."""
        return self.p < PAIRED_P and self.spread < UNSTABLE_SPREAD


def compare_pairs(ours: Sequence[float], theirs: Sequence[float]) -> Paired:
    """Compare two lists of times, of which those in the same place are a pair.

    Wilcoxon's signed ranks of the logarithms of the ratios, exactly; the estimate and the interval
    are those of Hodges and Lehmann, from the means of every two pairs.

    Raises:
        ValueError: If the lists differ in length, are empty, or hold what is no time.
    """
    if not ours or min(*ours, *theirs) <= 0:
        raise ValueError("pairs need times")
    logs = [math.log(b / a) for a, b in zip(ours, theirs, strict=True)]
    means = sorted((a + b) / 2 for a, b in itertools.combinations_with_replacement(logs, 2))
    outside = _outside(len(logs))
    return Paired(
        ratio=math.exp(statistics.median(means)),
        low=math.exp(means[outside]),
        high=math.exp(means[-1 - outside]),
        p=signed_rank_p(logs),
        spread=MAD_TO_SIGMA * mad_of(logs),
    )


def signed_rank_p(differences: Iterable[float]) -> float:
    """Exact two-sided p of Wilcoxon's signed-rank test.

    Differences of zero are left out; those of one size share the mean of their ranks.
    """
    sized = sorted((one for one in differences if one), key=abs)
    sizes = [abs(one) for one in sized]
    # Twice the mean of the places that a size has, counted from 1: a whole number.
    ranks = [bisect.bisect_left(sizes, one) + 1 + bisect.bisect_right(sizes, one) for one in sizes]
    positive = sum(rank for rank, one in zip(ranks, sized, strict=True) if one > 0)
    least = min(positive, sum(ranks) - positive)
    extreme = sum(count for total, count in _sums(ranks).items() if total <= least)
    return min(1.0, 2.0 * extreme / (1 << len(ranks)))


def _sums(ranks: Iterable[int]) -> Counter[int]:
    """How many subsets of the ranks have each sum."""
    found = Counter({0: 1})
    for rank in ranks:
        found += Counter({total + rank: count for total, count in found.items()})
    return found


def _outside(pairs: int) -> int:
    """How many of all means lie below their 95 % interval, and as many above it."""
    sums = _sums(range(1, pairs + 1))
    below = itertools.accumulate(sums[total] for total in range(sum(range(pairs + 1))))
    unlikely = itertools.takewhile(lambda count: 2 * count / (1 << pairs) < _CONFIDENCE_P, below)
    return max(0, sum(1 for _ in unlikely) - 1)
