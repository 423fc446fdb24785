"""Confirmation: the finalist and the baseline in turns, in fresh processes, and a verdict.

The search number of the best of many noisy trials looks too good (M14), so only what is measured
here is published.
"""

from __future__ import annotations

import random
import statistics
from dataclasses import dataclass, field

from autotune.records import Candidate, Outcome, Status
from autotune.search.request import CONFIRM
from autotune.search.runner import Runner
from autotune.stats.compare import Compared, Verdict, compare

#: Four processes a side are the fewest whose exact rank test can reach p < 0.05 (2 of 70).
PAIRS = 4
#: Where four cannot say, two more pairs may.
MOST_PAIRS = 6


@dataclass(kw_only=True)
class Side:
    """The fresh processes of one candidate."""

    candidate: Candidate
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def processes_s(self) -> tuple[tuple[float, ...], ...]:
        """The raw samples, one list a process."""
        return tuple(outcome.samples_s for outcome in self.outcomes)

    @property
    def latency_s(self) -> float:
        """Median of the processes' medians."""
        return statistics.median(statistics.median(samples) for samples in self.processes_s)

    @property
    def peak_bytes(self) -> int:
        """The highest peak of all processes."""
        return max(outcome.memory.peak_bytes for outcome in self.outcomes if outcome.memory)


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """Both sides and what they say.

    ``failed`` holds the outcome that broke the finalist; ``cut_short`` says that time ran out.
    Without ``compared`` the finalist is the baseline, or the baseline does not run.
    """

    finalist: Side
    is_baseline: bool
    baseline: Side | None = None
    compared: Compared | None = None
    failed: Outcome | None = None
    cut_short: bool = False


class _Broken(Exception):
    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome


def confirm(runner: Runner, finalist: Candidate, baseline: Candidate | None) -> Confirmed:
    """Run finalist and baseline in turns until there is a verdict or ``MOST_PAIRS`` are done.

    Without a baseline, or when the finalist is the baseline, one side is run alone.
    """
    ours = Side(candidate=finalist)
    alone = baseline is None or baseline == finalist
    theirs = None if baseline is None or alone else Side(candidate=baseline)
    order = random.Random(runner.request.seed)
    compared = None
    is_baseline = baseline == finalist
    try:
        for pair in range(MOST_PAIRS):
            _run_pair(runner, ours, theirs, order)
            if pair + 1 < PAIRS:
                continue
            if theirs is None:
                break
            compared = compare(ours.processes_s, theirs.processes_s)
            if compared.verdict is not Verdict.CANNOT_SAY:
                break
    except _Broken as broken:
        cut_short = broken.outcome.status is Status.CANCELLED
        return Confirmed(
            finalist=ours,
            is_baseline=is_baseline,
            failed=None if cut_short else broken.outcome,
            cut_short=cut_short,
        )
    return Confirmed(finalist=ours, is_baseline=is_baseline, baseline=theirs, compared=compared)


def _run_pair(runner: Runner, ours: Side, theirs: Side | None, order: random.Random) -> None:
    sides = [ours] if theirs is None else [ours, theirs]
    order.shuffle(sides)
    for side in sides:
        # The baseline is a yardstick: it may need more than the budget allows.
        budget = runner.request.budget_bytes if side is ours else None
        tried = runner.repeat(side.candidate, "confirm", CONFIRM, budget_bytes=budget)
        if tried.outcome.status is not Status.MEASURED:
            raise _Broken(tried.outcome)
        side.outcomes.append(tried.outcome)
