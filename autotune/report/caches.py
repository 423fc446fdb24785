"""Caches beside their honest rival: fewer steps in the same time, without a cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from autotune.records import Candidate
from autotune.stats.pace import pace_of
from autotune.units import format_ratio

if TYPE_CHECKING:
    from autotune.search.history import History, Tried

LEVER, NONE = "cache", "none"


@dataclass(frozen=True, kw_only=True)
class BesideRival:
    """A measured candidate with a cache, and the steps its time would buy without one.

    ``ratio`` is the rival's time over the candidate's. The rival is the same candidate without the
    cache where that was measured, else the baseline as it is.
    """

    choices: Candidate
    latency_s: float
    steps: int
    rival_is_baseline: bool
    ratio: float | None = None
    rival_steps: int | None = None

    @property
    def sentence(self) -> str:
        """The comparison in one line."""
        start = f"{LEVER}={self.choices[LEVER]}"
        if self.ratio is None or self.rival_steps is None:
            return f"{start}: cannot say what it gains, its rival was not measured in phases"
        start = f"{start}: {format_ratio(self.ratio)}"
        rival = "without it"
        if self.rival_is_baseline:
            start, rival = f"{start} the speed of the baseline", "with the baseline's steps"
        if self.rival_steps >= self.steps:
            return f"{start}; {rival} the same time buys all {self.steps} steps: it gains nothing"
        return f"{start}; {rival} the same time buys {self.rival_steps} of {self.steps} steps"


def compare_caches(history: History, steps: int) -> Sequence[BesideRival]:
    """For every cache that was measured within the budget, its fastest candidate."""
    fastest: dict[str, Tried] = {}
    for tried in history.feasible():
        choice = tried.candidate.get(LEVER, NONE)
        if choice != NONE:
            fastest.setdefault(choice, tried)
    return [_beside_rival(tried, history, steps) for tried in fastest.values()]


def _beside_rival(tried: Tried, history: History, steps: int) -> BesideRival:
    from autotune.search.history import latency_of

    plain = {**tried.candidate, LEVER: NONE}
    timed = [one for one in history.last_tried() if one.latency_s is not None]
    own = next((one for one in timed if one.candidate == plain), None)
    rival = own or next((one for one in timed if one is history.baseline), None)
    ratio, rival_steps = None, None
    latency_s = latency_of(tried.outcome) or 0.0  # never zero: what fits was timed
    rival_s = latency_of(rival.outcome) if rival is not None else None
    if rival is not None and rival_s is not None:
        # Phases are of the steps that ran, the time is of all.
        phases = dict(rival.outcome.phases_s)
        if rival.steps and "denoise" in phases:
            phases["denoise"] *= steps / rival.steps
        pace = pace_of(rival_s, phases, steps)
        if pace is not None:
            ratio, rival_steps = rival_s / latency_s, pace.steps_within(latency_s)
    return BesideRival(
        choices=tried.candidate,
        latency_s=latency_s,
        steps=steps,
        rival_is_baseline=own is None,
        ratio=ratio,
        rival_steps=rival_steps,
    )


def caches_json(history: History, steps: int) -> list[dict[str, Any]]:
    """The same in plain types."""
    return [asdict(one) | {"choices": dict(one.choices)} for one in compare_caches(history, steps)]
