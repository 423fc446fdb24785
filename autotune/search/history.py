"""What a study has seen: every trial with its verdict, the best, the frontier, the refused."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from autotune.objective import STEADY, Objective
from autotune.records import Candidate, Outcome, candidate_key
from autotune.search.failures import failing_choices
from autotune.search.space import Space
from autotune.search.verdict import TIE_SHARE, judge
from autotune.status import Status, Teaches


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One trial of a candidate."""

    number: int
    candidate: Candidate
    why: str
    outcome: Outcome
    #: What it took, from its start to its end.
    cost_s: float = 0.0
    #: How many steps it ran, if they were fewer than the workload's.
    steps: int | None = None
    objective: Objective = STEADY

    @property
    def whole_s(self) -> float:
        """What it took of the study's time, with what surrounds its process."""
        return max(self.cost_s, self.outcome.seconds)

    @property
    def latency_s(self) -> float | None:
        """The time of an image that counts, or ``None`` if none was timed."""
        return latency_of(self.outcome, self.objective)

    @property
    def peak_bytes(self) -> int | None:
        """The peak the budget is judged on, when the trial reached its end."""
        done = self.outcome.status in (Status.MEASURED, Status.OVER_BUDGET)
        whole = done and bool(self.outcome.samples_s)
        return self.outcome.memory.peak_bytes if whole and self.outcome.memory else None


def latency_of(outcome: Outcome, objective: Objective = STEADY) -> float | None:
    """Seconds of an image that count, or ``None`` if none was timed; see `times_of`."""
    times_s = times_of(outcome, objective)
    return statistics.median(times_s) if times_s else None


def times_of(outcome: Outcome, objective: Objective = STEADY) -> tuple[float, ...]:
    """Each time of an image that counts: of every sample, or one of the process.

    Of steps that were left out, the time is part of each.
    """
    steady_s = tuple(one + outcome.left_out_s for one in outcome.samples_s)
    if not steady_s or not objective.counts_start:
        return steady_s
    found = objective.seconds(statistics.median(steady_s), first_of(outcome), outcome.load_s)
    return () if found is None else (found,)


def first_of(outcome: Outcome) -> float | None:
    """Seconds of the first image of a process, if it was made."""
    return None if outcome.first_s is None else outcome.first_s + outcome.left_out_s


@dataclass(kw_only=True)
class History:
    """All trials of a study, in order, judged against one budget."""

    space: Space
    budget_bytes: int
    tried: list[Tried] = field(default_factory=list)
    #: How many of them, at the beginning, were run for larger budgets.
    taken_over: int = 0
    refused: dict[str, tuple[Candidate, str]] = field(default_factory=dict)
    disproved: dict[str, Tried] = field(default_factory=dict)
    #: What the rivals took in their run-off, if there was one.
    run_off: dict[str, float] = field(default_factory=dict)

    def add(self, tried: Tried) -> None:
        """Note a trial."""
        self.tried.append(tried)

    def take_over(self, tried: Tried) -> None:
        """Note a trial that was run for a larger budget, before any of this one's own."""
        self.tried.append(tried)
        self.taken_over += 1

    def last_own(self) -> list[Tried]:
        """The last trial of each candidate that was run for this budget."""
        return _last_of_each(self.own)

    @property
    def own(self) -> list[Tried]:
        """The trials that were run for this budget."""
        return self.tried[self.taken_over :]

    def refuse(self, candidate: Candidate, reason: str) -> None:
        """Note a candidate that got no trial."""
        self.refused[candidate_key(candidate)] = (candidate, reason)

    def disprove(self, tried: Tried) -> None:
        """Note a candidate that was measured in the search and failed in its confirmation."""
        self.disproved[candidate_key(tried.candidate)] = tried

    def last_tried(self) -> list[Tried]:
        """The last trial of each candidate: an earlier one was repeated because it failed."""
        return _last_of_each(self.tried)

    @property
    def baseline(self) -> Tried | None:
        """The last trial of the baseline."""
        own = (one for one in self.last_tried() if one.candidate == self.space.baseline)
        return next(own, None)

    def fits(self, tried: Tried) -> bool:
        """Whether the trial was measured within the budget."""
        peak = tried.peak_bytes
        measured = tried.outcome.status is Status.MEASURED
        return measured and peak is not None and peak <= self.budget_bytes

    def feasible(self) -> list[Tried]:
        """Trials within the budget, fastest first."""
        fitting = [one for one in self.tried if self.fits(one)]
        return sorted(fitting, key=lambda one: (one.latency_s, one.number))

    def standing(self) -> list[Tried]:
        """The fastest of them of each candidate that nothing speaks against."""
        found: dict[str, Tried] = {}
        for one in self.feasible():
            if not self._disproved(one):
                found.setdefault(candidate_key(one.candidate), one)
        return list(found.values())

    def finalist(self) -> Tried | None:
        """The fastest within the budget; among near-equals the one with the fewest changes.

        After a run-off, of those that were in it, by what they took there.
        """
        left = {candidate_key(one.candidate): one for one in self.standing()}
        searched = {key: one.latency_s or math.inf for key, one in left.items()}
        times = {key: s for key, s in self.run_off.items() if key in left} or searched
        limit = min(times.values(), default=0.0) * (1 + TIE_SHARE)
        near = [key for key, seconds in times.items() if seconds <= limit]
        changes = {key: len(self.space.changes(left[key].candidate)) for key in near}
        best = min(near, key=lambda key: (changes[key], times[key]), default=None)
        return None if best is None else left[best]

    def failing_choices(self) -> list[Candidate]:
        """Choices that never worked here, or not together: a rule that could be written."""
        judged = [
            (one.candidate, judge(one.outcome.status, one.latency_s, one.peak_bytes, 1))
            for one in self.last_tried()
            if one.outcome.status.teaches in (None, Teaches.CANDIDATE)
        ]
        failed = [candidate for candidate, how in judged if how.failed]
        sound = [candidate for candidate, how in judged if how.latency_s is not None]
        return failing_choices(failed, sound, self.space.baseline) if failed and sound else []

    def frontier(self) -> Iterator[Tried]:
        """For each amount of memory the fastest candidate: from the leanest to the fastest."""
        whole = [
            one for one in self.tried if one.peak_bytes is not None and not self._disproved(one)
        ]
        best = float("inf")
        for one in sorted(whole, key=lambda one: (one.peak_bytes, one.latency_s)):
            if one.latency_s is not None and one.latency_s < best:
                best = one.latency_s
                yield one

    def _disproved(self, tried: Tried) -> bool:
        return candidate_key(tried.candidate) in self.disproved


def _last_of_each(trials: Iterable[Tried]) -> list[Tried]:
    return list({candidate_key(one.candidate): one for one in trials}.values())


def status_against(tried: Tried, budget_bytes: int) -> Status:
    """How the trial ended, judged against the budget even where it was not enforced."""
    peak = tried.peak_bytes
    if tried.outcome.status is Status.MEASURED and peak is not None and peak > budget_bytes:
        return Status.OVER_BUDGET
    return tried.outcome.status


def binding(outcome: Outcome) -> str | None:
    """What decides the peak: the phase, and the component to look at.

    Where the activations of the peak phase outweigh the largest component, the component that is
    active then binds; otherwise the largest one does.
    """
    if outcome.memory is None or not outcome.memory.phases:
        return None
    phases = {name: peak for name, peak in outcome.memory.phases.items() if name in _ACTIVE}
    if not phases:
        return None
    phase = max(phases, key=lambda name: phases[name])
    largest = max(outcome.weights, key=lambda name: outcome.weights[name], default=None)
    activations = phases[phase] - sum(outcome.weights.values())
    active = _active_component(outcome, phase)
    if largest is None or (active and activations > outcome.weights[largest]):
        return f"{active or 'the pipeline'} during {phase}"
    return f"{largest} during {phase}"


_ACTIVE = ("load", "encode", "denoise", "decode")


def _active_component(outcome: Outcome, phase: str) -> str | None:
    wanted = {"encode": "text_encoder", "decode": "vae"}.get(phase)
    if phase == "denoise":
        return next((n for n in ("transformer", "unet") if n in outcome.weights), None)
    return next((n for n in outcome.weights if wanted and n.startswith(wanted)), None)
