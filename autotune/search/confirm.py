"""Confirmation: the finalist and the baseline in turns, in fresh processes, and a verdict.

The search number of the best of many noisy trials looks too good (M14), so only what is measured
here is published.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field, replace

from autotune.errors import CannotRun
from autotune.objective import STEADY, Objective
from autotune.records import Candidate, Outcome
from autotune.search.calm import was_spoilt
from autotune.search.history import Tried, status_against, times_of
from autotune.search.runner import MOST_RETRIES, Runner, environment_failed, may_be_chance
from autotune.stats.compare import Compared, Verdict, compare
from autotune.stats.stability import is_unstable, spread_of
from autotune.status import Status

#: Four processes a side of one candidate came out 3 to 4 % apart where they differed by a tenth
#: (the demo): more processes of those would only ask chance again.
_WORTH_MORE = 0.04


@dataclass(kw_only=True)
class Side:
    """The fresh processes of one candidate."""

    candidate: Candidate
    objective: Objective = STEADY
    #: What it may take; a yardstick may need more than the budget allows.
    budget_bytes: int | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    #: Processes with another workload, whose peaks count and whose times do not.
    others: list[Outcome] = field(default_factory=list)

    @property
    def processes_s(self) -> tuple[tuple[float, ...], ...]:
        """The times that count, one list a process."""
        return tuple(times_of(outcome, self.objective) for outcome in self.outcomes)

    @property
    def peak_bytes(self) -> int:
        """The highest peak of all processes."""
        every = (*self.outcomes, *self.others)
        return max(outcome.memory.peak_bytes for outcome in every if outcome.memory)


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """Both sides and what they say.

    ``failed`` holds the trial that broke the finalist; ``cut_short`` says that time ran out.
    Without ``compared`` the finalist is the baseline, or the baseline does not run.
    """

    finalist: Side
    is_baseline: bool
    baseline: Side | None = None
    compared: Compared | None = None
    failed: Tried | None = None
    cut_short: bool = False


class _Broken(Exception):
    def __init__(self, tried: Tried) -> None:
        super().__init__(tried.outcome.message)
        self.tried = tried


class _CutShort(Exception):
    pass


def confirm(runner: Runner, finalist: Candidate, baseline: Candidate | None) -> Confirmed:
    """Run finalist and baseline in turns, as often as the effort says, and compare.

    Without a baseline, or when the finalist is the baseline, one side is run alone.

    Raises:
        CannotRun: If the environment gives out.
    """
    objective = runner.request.objective
    budget = runner.request.budget_bytes
    ours = Side(candidate=finalist, objective=objective, budget_bytes=budget)
    alone = baseline is None or baseline == finalist
    theirs = None
    if baseline is not None and not alone:
        theirs = Side(candidate=baseline, objective=objective)
    is_baseline = baseline == finalist
    try:
        theirs, compared = _in_turns(runner, ours, theirs)
    except _CutShort:
        return Confirmed(finalist=ours, is_baseline=is_baseline, cut_short=True)
    except _Broken as broken:
        return Confirmed(finalist=ours, is_baseline=is_baseline, failed=broken.tried)
    return Confirmed(finalist=ours, is_baseline=is_baseline, baseline=theirs, compared=compared)


def in_turns(runner: Runner, ours: Side, theirs: Side, called: str) -> Compared | Tried:
    """Run two candidates in turns, each within its own budget; or the trial that broke one.

    Raises:
        CannotRun: If the environment gives out.
    """
    try:
        _, compared = _in_turns(runner, ours, theirs, called)
    except _Broken as broken:
        return broken.tried
    assert compared is not None
    return compared


def _in_turns(
    runner: Runner, ours: Side, theirs: Side | None, called: str = "the baseline"
) -> tuple[Side | None, Compared | None]:
    order, begun = random.Random(runner.request.seed), time.monotonic()
    pairs = runner.request.efforts.pairs
    theirs = _rounds(runner, ours, theirs, order, pairs)
    compared = _compared(ours, theirs, called)
    took_s = time.monotonic() - begun
    hopeless = runner.calm.given_up or not runner.has_time(took_s)
    if compared is None or hopeless or not _may_matter(compared):
        return theirs, compared
    runner.listener.said(f"{compared.why}: as many pairs again")
    try:
        theirs = _rounds(runner, ours, theirs, order, pairs)
    except _CutShort:
        for side in (ours, theirs):
            if side is not None:
                del side.outcomes[pairs:]
    return theirs, _compared(ours, theirs, called)


def _may_matter(compared: Compared) -> bool:
    """Whether no verdict came of what looks like more than chance."""
    ratio = max(compared.ratio, 1 / compared.ratio)
    return compared.verdict is Verdict.CANNOT_SAY and ratio >= 1 + _WORTH_MORE


def _compared(ours: Side, theirs: Side | None, called: str) -> Compared | None:
    if theirs is None:
        return None
    compared = compare(ours.processes_s, theirs.processes_s, called=called)
    return _with_doubt(compared, ours, theirs)


def _rounds(
    runner: Runner, ours: Side, theirs: Side | None, order: random.Random, count: int
) -> Side | None:
    """Run both sides so many times, in an order by lot; what is left of the other side."""
    for _ in range(count):
        sides = [ours] if theirs is None else [ours, theirs]
        order.shuffle(sides)
        for side in sides:
            tried = _fresh(runner, side)
            if tried.outcome.status is Status.MEASURED:
                side.outcomes.append(tried.outcome)
            elif side.budget_bytes is None:
                runner.listener.said(
                    f"the baseline failed in a fresh process ({tried.outcome.status.sentence}): "
                    "there is nothing to compare with"
                )
                theirs = None
            else:
                raise _Broken(tried)
    return theirs


def _with_doubt(compared: Compared, ours: Side, theirs: Side) -> Compared:
    """No verdict that disturbed processes could have made, and no winner that is unstable (M8).

    Disturbed processes are slower than they should be.
    """
    # What both of a pair share is not in the spread of pairs, which have been asked for it.
    if (
        compared.verdict is Verdict.FASTER
        and not compared.paired
        and is_unstable(ours.processes_s)
    ):
        spread = f"{spread_of(ours.processes_s):.0%}"
        why = f"its times differ by {spread} from process to process: too unstable to win"
        return replace(compared, verdict=Verdict.CANNOT_SAY, why=why)
    slower = {Verdict.FASTER: theirs, Verdict.SLOWER: ours}.get(compared.verdict)
    outcomes = slower.outcomes if slower else []
    spoilt = [one.disturbed for one in outcomes if one.disturbed]
    if not spoilt:
        return compared
    of = f"{len(spoilt)} of the slower side's {len(outcomes)} processes"
    why = f"{of} were disturbed: {spoilt[0]}"
    return replace(compared, verdict=Verdict.CANNOT_SAY, why=why)


def _fresh(runner: Runner, side: Side) -> Tried:
    """One process of a side; again where the environment, or chance, broke it."""
    budget = side.budget_bytes
    effort = runner.request.efforts.confirm
    for attempt in range(MOST_RETRIES + 1):
        if runner.time_is_up:
            raise _CutShort
        tried = runner.repeat(side.candidate, "confirm", effort, budget_bytes=budget)
        outcome = tried.outcome
        if outcome.status is Status.CANCELLED and runner.time_is_up:
            raise _CutShort
        if environment_failed(outcome) or (may_be_chance(outcome) and attempt == 0):
            continue
        if was_spoilt(outcome) and attempt < MOST_RETRIES and not runner.calm.given_up:
            continue
        if budget is not None:
            tried = runner.gate.judged(tried)
            # Not every engine enforces the budget.
            judged = tried.outcome.but(status=status_against(tried, budget))
            return replace(tried, outcome=judged)
        return tried
    raise CannotRun(
        f"{outcome.status.sentence} {attempt + 1} times: {outcome.message}",
        hint=f"the logs are in {runner.request.folder / 'trials'}",
    )
