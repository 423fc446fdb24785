"""Whether the machine is still what it was when a search began: the baseline once more (M13)."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from autotune.records import Effort
from autotune.search.history import History, Tried, latency_of
from autotune.search.runner import Runner
from autotune.status import Status

#: Every ten trials, where as many are still to come, or half an hour: the confirmation measures
#: the baseline anyway.
_TRIALS, _SECONDS = 10, 1800.0
#: Beyond this, times from before and after do not compare.
_MOST = 0.05


@dataclass(frozen=True, kw_only=True)
class Drifted:
    """From which trial on the baseline took ``ratio`` times what it took at first."""

    trial: int
    ratio: float

    @property
    def sentence(self) -> str:
        """What it means, for people."""
        return (
            f"the machine has changed: at trial {self.trial} the baseline took {self.ratio:.2f} "
            "times what it took at first, so times of the search from before and after do not "
            "compare; those of the confirmation do"
        )


class Drift:
    """Looks at the baseline from time to time, as long as a search goes on."""

    def __init__(self) -> None:
        self._count: int | None = None
        self._at_s = time.monotonic()
        self.found: Drifted | None = None

    def look(self, runner: Runner, history: History, effort: Effort, left: float) -> bool:
        """Run the baseline again if it is time to; whether it was run.

        Args:
            runner: What runs trials.
            history: Of the search, whose first trial is the baseline.
            effort: Of a trial of the search.
            left: How many trials are still to come.
        """
        first, now_s = history.baseline, time.monotonic()
        if self._count is None:
            self._count, self._at_s = runner.count, now_s
        many = runner.count - self._count >= _TRIALS and left >= _TRIALS
        if first is None or not (many or now_s - self._at_s >= _SECONDS):
            return False
        tried = runner.repeat(
            first.candidate, "baseline, again", effort.but(steps=first.steps), budget_bytes=None
        )
        self._count, self._at_s = runner.count, now_s
        self._judge(first, tried)
        if self.found is not None and self.found.trial == tried.number:
            runner.listener.said(self.found.sentence)
        return True

    def _judge(self, first: Tried, tried: Tried) -> None:
        before_s = latency_of(first.outcome, first.objective)
        after_s = latency_of(tried.outcome, first.objective)
        if tried.outcome.status is not Status.MEASURED or not before_s or not after_s:
            return
        ratio = after_s / before_s
        if abs(ratio - 1) > max(_MOST, 2 * _spread(first), 2 * _spread(tried)):
            self.found = Drifted(trial=tried.number, ratio=ratio)


def _spread(tried: Tried) -> float:
    """By what share the samples of one process differ: less than that is no drift."""
    samples_s = tried.outcome.samples_s
    return (max(samples_s) - min(samples_s)) / statistics.median(samples_s)
