"""Medians, spread and intervals of raw samples (rules M7 and M8)."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

#: pyperf's threshold for a result that must not be trusted: spread of 10 % of the middle.
UNSTABLE_SPREAD = 0.10
#: Half of it earns a remark.
NOISY_SPREAD = 0.05
#: Turns a MAD into the standard deviation of a normal distribution.
MAD_TO_SIGMA = 1.4826
BOOTSTRAP_ROUNDS = 2000


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a list of samples says."""

    count: int
    median: float
    mad: float
    low: float
    high: float

    @property
    def spread(self) -> float:
        """Robust standard deviation as a share of the median."""
        return MAD_TO_SIGMA * self.mad / self.median if self.median else 0.0


def summarize(samples: Sequence[float], *, seed: int = 0) -> Summary:
    """Summarize samples by median, MAD and a 95 % bootstrap interval of the median.

    Raises:
        ValueError: If there is no sample.
    """
    if not samples:
        raise ValueError("no samples to summarize")
    low, high = bootstrap_interval(samples, seed=seed)
    middle, mad = statistics.median(samples), mad_of(samples)
    return Summary(count=len(samples), median=middle, mad=mad, low=low, high=high)


def mad_of(samples: Sequence[float]) -> float:
    """The median distance from the median."""
    middle = statistics.median(samples)
    return statistics.median(abs(value - middle) for value in samples)


def units_of(processes: Sequence[Sequence[float]]) -> Sequence[float]:
    """What is summarized of several processes: their medians; of a single one its samples.

    Samples of one process share its luck (pyperf), so several processes count once each.
    """
    if len(processes) == 1:
        return processes[0]
    return [statistics.median(process) for process in processes]


def bootstrap_interval(samples: Sequence[float], *, seed: int = 0) -> tuple[float, float]:
    """A 95 % percentile interval of the median, the same for the same seed."""
    generator = random.Random(seed)
    size = len(samples)
    medians = sorted(
        statistics.median(generator.choices(samples, k=size)) for _ in range(BOOTSTRAP_ROUNDS)
    )
    return medians[int(0.025 * BOOTSTRAP_ROUNDS)], medians[int(0.975 * BOOTSTRAP_ROUNDS) - 1]
