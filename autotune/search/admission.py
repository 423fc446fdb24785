"""Which candidates are refused without a trial: rules first, then what cannot fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from autotune.estimate.memory import MemoryEstimate, Phase, estimate_memory
from autotune.estimate.plan import plan_of
from autotune.estimate.profile import Profile
from autotune.levers.plan import Plan
from autotune.levers.rule import Rule, RuleTable
from autotune.levers.rules import RULES
from autotune.records import Candidate, Device, Model, candidate_key
from autotune.units import format_bytes


@dataclass(frozen=True, kw_only=True)
class Admission:
    """Judges candidates for one model, device and budget.

    ``host_bytes`` is what a trial may take of the host beside an accelerator, or all there is.
    """

    model: Model
    device: Device
    budget_bytes: int
    software: Mapping[str, str]
    profile: Profile
    host_bytes: int | None = None

    def broken(self, candidate: Candidate) -> Rule | None:
        """The first rule that excludes the candidate, or all candidates with these choices."""
        return self._rules.broken(candidate)

    @cached_property
    def _rules(self) -> RuleTable:
        device, family, software = self.device.kind, self.model.family, self.software
        return RuleTable(
            rule for rule in RULES if rule.holds(device=device, family=family, software=software)
        )

    def rule(self, candidate: Candidate) -> str | None:
        """The reason of the first rule that excludes the candidate."""
        broken = self.broken(candidate)
        return f"{broken.reason} ({broken.cite})" if broken else None

    def memory(self, candidate: Candidate) -> MemoryEstimate:
        """What the candidate is foreseen to take."""
        return self.planned(candidate)[1]

    def planned(self, candidate: Candidate) -> tuple[Plan, MemoryEstimate]:
        """What a candidate makes of the model, and what that is foreseen to take; asked once."""
        key = candidate_key(candidate)
        if key not in self._planned:
            plan = plan_of(self.model, self.device, candidate)
            self._planned[key] = plan, estimate_memory(self.profile, plan)
        return self._planned[key]

    @cached_property
    def _planned(self) -> dict[str, tuple[Plan, MemoryEstimate]]:
        return {}

    def too_large(self, candidate: Candidate) -> str | None:
        """Why a candidate surely does not fit, with the numbers, or ``None`` if it may."""
        found = self.memory(candidate)
        if found.least_bytes > self.budget_bytes:
            return (
                f"needs {format_bytes(found.least_bytes)} at the least, "
                f"{format_bytes(found.expected_bytes)} is foreseen: {binding_phrase(found.binds)}"
            )
        if self.host_bytes is None or self.device.kind in ("cpu", "mps"):
            return None
        if found.host_bytes <= self.host_bytes:
            return None
        return (
            f"the offloaded weights alone take {format_bytes(found.host_bytes)} of host memory, "
            f"{format_bytes(self.host_bytes)} may be taken"
        )


def binding_phrase(phase: Phase) -> str:
    """What the worst moment of a phase is made of, in a few words."""
    largest = phase.largest
    return f"{largest} takes {format_bytes(phase.bytes[largest])} while it has to {phase.name}"
