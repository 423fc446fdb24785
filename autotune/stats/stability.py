"""What in raw samples says that their median deserves little trust: the closed list (M8, M9).

No sample is dropped for being far off: a burst is part of what was measured, and is said.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from autotune.stats.summary import (
    MAD_TO_SIGMA,
    NOISY_SPREAD,
    UNSTABLE_SPREAD,
    mad_of,
    units_of,
)

#: What a confirmation should rest on: rule M6.
FEWEST_SAMPLES, FEWEST_PROCESSES = 8, 3
#: Further from the median is an outlier: hyperfine's 14.8 MAD, which is ten sigmas.
OUTLIER_SIGMAS = 10.0
#: A sigma is at least this share of the median: the spread nvbench aims at for single kernels.
#: Samples that are nearer together, or equal, say how coarse a clock is or how few they are.
LEAST_SIGMA = 0.005
#: pyperf's threshold for a fastest or slowest sample that must be looked at.
EXTREME_SHARE = 0.50
#: What is measured later may not be off by more: rule M13.
DRIFT_SHARE = 0.05
#: Four processes are in order by chance once in twelve times, which is their least p.
DRIFT_P = 0.10
FEWEST_TO_DRIFT = 4


class Caution(StrEnum):
    """What is wrong with samples. The sentence and advice beside each are what the user reads."""

    TOO_FEW = "too few"
    NOISY = "noisy"
    UNSTABLE = "unstable"
    OUTLIERS = "outliers"
    EXTREME = "extreme"
    SLOW_START = "slow start"
    DRIFT = "drift"

    @property
    def sentence(self) -> str:
        """What it means, for people."""
        return _SENTENCES[self][0]

    @property
    def advice(self) -> str:
        """What can be done about it."""
        return _SENTENCES[self][1]


_CALM = "close other programs and measure again"
_MORE = "measure with more --effort"
_SENTENCES: dict[Caution, tuple[str, str]] = {
    Caution.TOO_FEW: ("the median rests on too few samples", _MORE),
    Caution.NOISY: ("times differ by a twentieth of their median or more", _CALM),
    Caution.UNSTABLE: ("times differ by a tenth or more: unstable", _CALM),
    Caution.OUTLIERS: ("some samples are far from all others", _CALM),
    Caution.EXTREME: ("some samples are off by half of the median or more", _CALM),
    Caution.SLOW_START: ("the first sample of every process is slow", _MORE),
    Caution.DRIFT: ("times drift from process to process", f"let the device settle, and {_MORE}"),
}


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A caution, with the numbers it rests on."""

    caution: Caution
    detail: str

    @property
    def line(self) -> str:
        """All of it, for people."""
        return f"{self.caution.sentence} ({self.detail}): {self.caution.advice}"


def cautions(processes: Sequence[Sequence[float]]) -> tuple[Seen, ...]:
    """What should be said of the samples of a candidate, the processes in order of time.

    Raises:
        ValueError: If there is no process, or one without a sample, or with one of no time.
    """
    if not processes or any(not process or min(process) <= 0 for process in processes):
        raise ValueError("each process needs samples, and each sample a time")
    return tuple(
        Seen(caution=caution, detail=detail)
        for caution, rule in _RULES.items()
        if (detail := rule(processes)) is not None
    )


def spread_of(processes: Sequence[Sequence[float]]) -> float:
    """By which share of their median times differ, in robust standard deviations."""
    units = units_of(processes)
    return MAD_TO_SIGMA * mad_of(units) / statistics.median(units)


def is_unstable(processes: Sequence[Sequence[float]]) -> bool:
    """Whether what was measured so may not win (M8)."""
    return spread_of(processes) >= UNSTABLE_SPREAD


def _too_few(processes: Sequence[Sequence[float]]) -> str | None:
    count = sum(map(len, processes))
    if count >= FEWEST_SAMPLES and len(processes) >= FEWEST_PROCESSES:
        return None
    return (
        f"{count} in {len(processes)}; it takes {FEWEST_SAMPLES} in {FEWEST_PROCESSES} processes"
    )


def _noisy(processes: Sequence[Sequence[float]]) -> str | None:
    spread = spread_of(processes)
    return f"by {spread:.1%}" if NOISY_SPREAD <= spread < UNSTABLE_SPREAD else None


def _unstable(processes: Sequence[Sequence[float]]) -> str | None:
    return f"by {spread_of(processes):.0%}" if is_unstable(processes) else None


def _outliers(processes: Sequence[Sequence[float]]) -> str | None:
    samples = list(itertools.chain(*processes))
    middle = statistics.median(samples)
    far = OUTLIER_SIGMAS * max(MAD_TO_SIGMA * mad_of(samples), LEAST_SIGMA * middle)
    count = sum(abs(one - middle) > far for one in samples)
    return f"{count} of {len(samples)}, kept" if count else None


def _extreme(processes: Sequence[Sequence[float]]) -> str | None:
    samples = list(itertools.chain(*processes))
    middle = statistics.median(samples)
    off = [one for one in samples if abs(one - middle) >= EXTREME_SHARE * middle]
    if not off:
        return None
    most = max(off, key=lambda one: abs(one - middle))
    return f"{len(off)} of {len(samples)}, one {most / middle:.2g} times the median"


def _slow_start(processes: Sequence[Sequence[float]]) -> str | None:
    if min(map(len, processes)) < 2 or any(one[0] <= max(one[1:]) for one in processes):
        return None
    slower = statistics.median(one[0] / statistics.median(one[1:]) for one in processes) - 1
    return f"by {slower:.0%}" if slower >= NOISY_SPREAD else None


def _drift(processes: Sequence[Sequence[float]]) -> str | None:
    medians = [statistics.median(process) for process in processes]
    if len(medians) < FEWEST_TO_DRIFT or trend_p(medians) >= DRIFT_P:
        return None
    change = _slope(medians) * (len(medians) - 1) / statistics.median(medians)
    if abs(change) < DRIFT_SHARE:
        return None
    slower = "slower" if change > 0 else "faster"
    return f"{abs(change):.0%} {slower} from the first to the last of {len(medians)}"


_RULES = {
    Caution.TOO_FEW: _too_few,
    Caution.NOISY: _noisy,
    Caution.UNSTABLE: _unstable,
    Caution.OUTLIERS: _outliers,
    Caution.EXTREME: _extreme,
    Caution.SLOW_START: _slow_start,
    Caution.DRIFT: _drift,
}


def _slope(values: Sequence[float]) -> float:
    """What each place adds, by Theil and Sen: the median over all pairs."""
    pairs = itertools.combinations(enumerate(values), 2)
    return statistics.median((b - a) / (j - i) for (i, a), (j, b) in pairs)


def trend_p(values: Sequence[float]) -> float:
    """Exact two-sided p of Kendall's test that values rise, or fall, with their place.

    With ties it is an upper bound.
    """
    size = len(values)
    pairs = list(itertools.combinations(values, 2))
    excess = abs(sum(b > a for a, b in pairs) - sum(b < a for a, b in pairs))
    # How many orders of so many values have 0, 1, 2, ... pairs that fall.
    orders = [1]
    for more in range(2, size + 1):
        most = len(orders) + more - 1
        orders = [sum(orders[max(0, fall - more + 1) : fall + 1]) for fall in range(most)]
    fewest = -((excess - len(pairs)) // 2)
    return min(1.0, 2 * math.fsum(orders[: fewest + 1]) / math.factorial(size))
