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
    middle = statistics.median(samples)
    mad = statistics.median(abs(value - middle) for value in samples)
    low, high = bootstrap_interval(samples, seed=seed)
    return Summary(count=len(samples), median=middle, mad=mad, low=low, high=high)


def bootstrap_interval(samples: Sequence[float], *, seed: int = 0) -> tuple[float, float]:
    """A 95 % percentile interval of the median, the same for the same seed."""
    generator = random.Random(seed)
    size = len(samples)
    medians = sorted(
        statistics.median(generator.choices(samples, k=size)) for _ in range(BOOTSTRAP_ROUNDS)
    )
    return medians[int(0.025 * BOOTSTRAP_ROUNDS)], medians[int(0.975 * BOOTSTRAP_ROUNDS) - 1]
