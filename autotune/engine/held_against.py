"""What the film of a card says against, or for, the outcome of a trial (rules M11, M16, M18).

Of what was measured the larger peak decides, the trial's own or the film's; what others did, or
the card's heat, marks it as disturbed. A failure that they may be the cause of becomes theirs.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from autotune.probe.film import Film
from autotune.probe.spoilt import (
    held_bytes,
    interfered,
    shares_of_reasons,
    throttled,
    tolerance_bytes,
)
from autotune.records import Filmed, Outcome
from autotune.status import Status
from autotune.units import format_bytes

#: What is done in these stages of a trial is neither timed nor measured.
_AFTERWARDS = ("count", "compare", "keep")
#: What the trial's meter calls the peaks of these stages; others have the same name.
_PHASES = {"start": "load", "warmup": "first call", "sample": "whole call"}
#: Failures that others, or heat, can be the cause of.
_PERHAPS_OTHERS = (Status.OUT_OF_VRAM, Status.OVER_BUDGET, Status.TOO_SLOW, Status.HUNG)
_PERHAPS_HEAT = (Status.TOO_SLOW, Status.HUNG)


@dataclass(frozen=True, kw_only=True)
class Take:
    """The film of one trial, from before its process began until some moments after its end."""

    film: Film
    start_s: float
    end_s: float
    #: Where the trial was, and since when.
    stages: Sequence[tuple[str, float]]
    total_bytes: int
    #: What was used of the card when the study began.
    first_bytes: int | None = None

    @property
    def timed_s(self) -> float:
        """Since when calls count: the last to warm up is watched, and samples follow."""
        return max(
            (at_s for stage, at_s in self.stages if stage == "warmup"), default=self.start_s
        )

    @property
    def measured_s(self) -> float:
        """Until when time and memory count."""
        return min((at for stage, at in self.stages if stage in _AFTERWARDS), default=self.end_s)

    def others(self, since_s: float) -> str | None:
        """What others did; another process counts since then."""
        return interfered(self.film, self.start_s, since_s, self.end_s, self.total_bytes)

    def held(self) -> int:
        """The bytes that the trial left behind."""
        return held_bytes(self.film, self.start_s, self.end_s, self.total_bytes)

    def phase_at(self, moment_s: float) -> str:
        """What the trial's meter calls what it was doing then."""
        stage = next((name for name, at in reversed(self.stages) if at <= moment_s), "start")
        return _PHASES.get(stage, stage)


def held_against(take: Take, outcome: Outcome, budget_bytes: int | None) -> Outcome:
    """The outcome as the film lets it stand."""
    outcome = outcome.but(filmed=_filmed(take))
    if outcome.status is not Status.MEASURED:
        return _excused(take, outcome)
    if take.others(take.start_s) is None:
        outcome = _with_larger_peak(take, outcome, budget_bytes)
    if outcome.status is not Status.MEASURED:
        return outcome
    why = outcome.disturbed or take.others(take.timed_s) or _slowed_down(outcome)
    return outcome.but(disturbed=why)


def _filmed(take: Take) -> Filmed:
    film = take.film
    before, peak = film.at(take.start_s), film.peak(take.start_s, take.measured_s)
    level = before.used_bytes if before else None
    above = None
    if peak is not None and peak.used_bytes is not None and level is not None:
        above = max(0, peak.used_bytes - level)
    timed = film.between(take.timed_s, take.measured_s)
    clocks = [one.sm_clock_mhz for one in timed if one.is_busy and one.sm_clock_mhz]
    heat = [one.temperature_c for one in timed if one.temperature_c is not None]
    return Filmed(
        frames=len(film.between(take.start_s, take.measured_s)),
        level_bytes=level,
        peak_bytes=above,
        held_bytes=take.held(),
        sm_clock_mhz=statistics.median_low(clocks) if clocks else None,
        temperature_c=max(heat, default=None),
        reasons=shares_of_reasons(film, take.timed_s, take.measured_s),
        slowed_down=throttled(film, take.timed_s, take.measured_s),
    )


def _with_larger_peak(take: Take, outcome: Outcome, budget_bytes: int | None) -> Outcome:
    memory, filmed = outcome.memory, outcome.filmed
    peak = take.film.peak(take.start_s, take.measured_s)
    if memory is None or filmed is None or filmed.peak_bytes is None or peak is None:
        return outcome
    seen = filmed.peak_bytes
    memory = memory.but(device_bytes=max(seen, memory.device_bytes or 0))
    if seen <= memory.peak_bytes:
        return outcome.but(memory=memory)
    phase = take.phase_at(peak.at_s)
    memory = memory.but(
        peak_bytes=seen,
        phases={**memory.phases, phase: seen},
        how=f"{memory.how}; the film of the device showed more during {phase}",
    )
    outcome = outcome.but(memory=memory)
    if budget_bytes is None or seen <= budget_bytes:
        return outcome
    excess = format_bytes(seen - budget_bytes)
    message = f"took {format_bytes(seen)} during {phase}, {excess} more than allowed"
    return outcome.but(status=Status.OVER_BUDGET, message=message)


def _excused(take: Take, outcome: Outcome) -> Outcome:
    status, why = Status.INTERFERED, None
    if outcome.status in _PERHAPS_OTHERS:
        why = take.others(take.start_s) or _taken_before(take, outcome)
    if why is None and outcome.status in _PERHAPS_HEAT:
        status, why = Status.THROTTLED, _slowed_down(outcome)
    if why is None:
        return outcome
    said = f"{outcome.status.sentence} ({outcome.message})" if outcome.message else ""
    return outcome.but(status=status, message=f"{said or outcome.status.sentence}, and {why}")


def _slowed_down(outcome: Outcome) -> str | None:
    return outcome.filmed.slowed_down if outcome.filmed else None


def _taken_before(take: Take, outcome: Outcome) -> str | None:
    """Whether the card had less free than when the study began, on which candidates rest."""
    before = take.film.at(take.start_s)
    if outcome.status is not Status.OUT_OF_VRAM or before is None or take.first_bytes is None:
        return None
    grown = (before.used_bytes or 0) - take.first_bytes
    if grown <= tolerance_bytes(take.total_bytes):
        return None
    return f"{format_bytes(grown)} more of its memory were in use than when the study began"
