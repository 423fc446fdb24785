"""Is one set of processes faster than another? Four answers, "cannot say" among them (M15)."""

from __future__ import annotations

import bisect
import itertools
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from autotune.stats.pairs import FEWEST_PAIRS, Paired, compare_pairs

#: An effect below this is not worth a lever: rule M15.
SMALLEST_EFFECT = 0.03
#: Two-sided chance of a difference that large between identical candidates. Four processes a side
#: reach 0.029 at the best; where they say nothing more are looked at, and all looks together,
#: that at pairs included, have to stay below it (simulated: `tests/search/test_false_claims.py`).
CONFIDENCE_P, FEW, CONFIDENCE_OF_MANY_P = 0.05, 4, 0.02


class Verdict(StrEnum):
    """What the comparison says of the first candidate."""

    FASTER = "faster"
    SLOWER = "slower"
    SAME = "same"
    CANNOT_SAY = "cannot say"
    IS_BASELINE = "is the baseline"


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A verdict with the numbers behind it; ``ratio`` is baseline time over candidate time.

    ``low`` and ``high`` enclose it with 95 % confidence; up to four processes a side they are the
    least and the largest ratio of any two. ``paired`` says that all of it is of pairs.
    """

    verdict: Verdict
    ratio: float
    low: float
    high: float
    p: float
    why: str
    paired: bool = False


def compare(
    candidate: Sequence[Sequence[float]],
    baseline: Sequence[Sequence[float]],
    *,
    called: str = "the baseline",
) -> Compared:
    """Compare two candidates by the medians of their fresh processes.

    The process, not the sample, is the unit: samples of one process share its luck (pyperf).
    What processes that overlap cannot say, pairs of them may: those in the same place ran one
    after the other.

    Args:
        candidate: Samples of each of its processes.
        baseline: The same of what it is compared with.
        called: What that is called in sentences.

    Raises:
        ValueError: If a side has no process, or a process no sample or a median of zero.
    """
    ours = [statistics.median(process) for process in candidate]
    theirs = [statistics.median(process) for process in baseline]
    if not ours or not theirs or min(*ours, *theirs) <= 0:
        raise ValueError("each side needs processes, and each process a positive median")
    ratio = statistics.median(theirs) / statistics.median(ours)
    ratios = sorted(b / a for a, b in itertools.product(ours, theirs))
    outside = _outside(len(ours), len(theirs))
    low, high = ratios[outside], ratios[-1 - outside]
    p = rank_sum_p(ours, theirs)
    every = ratios[0] > 1 or ratios[-1] < 1
    few = min(len(ours), len(theirs)) <= FEW
    unlikely = p < (CONFIDENCE_P if few else CONFIDENCE_OF_MANY_P)
    verdict, why = _judge(ratio, low, high, p, unlikely=unlikely, every=every, called=called)
    if verdict is Verdict.CANNOT_SAY and len(ours) == len(theirs):
        found = _judge_pairs(compare_pairs(ours, theirs), len(ours), called)
        if found is not None:
            return found
    return Compared(verdict=verdict, ratio=ratio, low=low, high=high, p=p, why=why)


def _judge_pairs(found: Paired, pairs: int, called: str) -> Compared | None:
    """A verdict that pairs allow, if there is one."""
    least, most = 1 / (1 + SMALLEST_EFFECT), 1 + SMALLEST_EFFECT
    if found.clear and found.ratio >= most:
        verdict = Verdict.FASTER
    elif found.clear and found.ratio <= least:
        verdict = Verdict.SLOWER
    elif pairs >= FEWEST_PAIRS and least <= found.low and found.high <= most:
        verdict = Verdict.SAME
    else:
        return None
    word = "as fast" if verdict is Verdict.SAME else verdict.value
    return Compared(
        verdict=verdict,
        ratio=found.ratio,
        low=found.low,
        high=found.high,
        p=found.p,
        why=f"in turns with {called} it was {word}, in {pairs} pairs (p = {found.p:.3f})",
        paired=True,
    )


def _judge(
    ratio: float,
    low: float,
    high: float,
    p: float,
    *,
    unlikely: bool,
    every: bool,
    called: str,
) -> tuple[Verdict, str]:
    clear = unlikely and (low > 1 or high < 1)
    many = "every process was" if every else "most processes were"
    beside = "every process" if every else f"most (p = {p:.3f})"
    if clear and ratio >= 1 + SMALLEST_EFFECT:
        return Verdict.FASTER, f"{many} faster than {beside} of {called}"
    if clear and ratio <= 1 / (1 + SMALLEST_EFFECT):
        return Verdict.SLOWER, f"{many} slower than {beside} of {called}"
    if low >= 1 / (1 + SMALLEST_EFFECT) and high <= 1 + SMALLEST_EFFECT:
        return Verdict.SAME, f"the processes lie within {SMALLEST_EFFECT:.0%} of {called}"
    apart = low > 1 or high < 1
    why = "more processes are needed" if apart and not unlikely else "the processes overlap"
    return Verdict.CANNOT_SAY, (
        f"{why}: the times of {called} are {low:.2f} to {high:.2f} times as long (p = {p:.3f})"
    )


@cache
def _outside(ours: int, theirs: int) -> int:
    """How many of all ratios, in order, lie below their 95 % interval, and as many above it.

    The interval of Hodges and Lehmann: it leaves out 1 exactly where the rank-sum test says so.
    """
    ways = _ways(range(2, 2 * (ours + theirs) + 1, 2), ours)
    chances = (count / math.comb(ours + theirs, ours) for _, count in ways)
    unlikely = itertools.takewhile(lambda p: 2 * p < CONFIDENCE_P, itertools.accumulate(chances))
    return max(0, sum(1 for _ in unlikely) - 1)


def rank_sum_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Exact two-sided p of the Wilcoxon rank-sum test, for the small samples we have."""
    pooled = sorted([*first, *second])
    # Ties share the mean of their ranks; doubled, that is a whole number.
    doubled = {value: _doubled_rank(pooled, value) for value in set(pooled)}
    everyone = [doubled[value] for value in (*first, *second)]
    size, total = len(first), len(everyone)
    expected = size * (total + 1)
    observed = abs(sum(everyone[:size]) - expected)
    ways = _ways(everyone, size)
    extreme = sum(count for rank_sum, count in ways if abs(rank_sum - expected) >= observed)
    return extreme / math.comb(total, size)


def _ways(ranks: Sequence[int], size: int) -> Iterator[tuple[int, int]]:
    """How many subsets of ``size`` ranks have each sum, without listing the subsets.

    Each subset size has a polynomial whose coefficients are packed into one integer; no count
    exceeds 2**len(ranks), so that many bits apiece, and one, keep them apart.
    """
    bits = len(ranks) + 1
    packed = [1] + [0] * size
    for rank in ranks:
        for chosen in range(size, 0, -1):
            packed[chosen] += packed[chosen - 1] << (rank * bits)
    mask = (1 << bits) - 1
    for rank_sum in range(sum(ranks) + 1):
        if count := packed[size] >> (rank_sum * bits) & mask:
            yield rank_sum, count


def _doubled_rank(pooled: Sequence[float], value: float) -> int:
    """Twice the mean position of a value, counted from 1, in a sorted list."""
    first = bisect.bisect_left(pooled, value)
    return first + bisect.bisect_right(pooled, value) + 1
