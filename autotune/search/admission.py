"""Which candidates are refused without a trial: rules first, then what cannot fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autotune.estimate.memory import host_floor, weights_floor
from autotune.levers.rule import Rule
from autotune.levers.rules import broken_rule
from autotune.records import Candidate, Device, Model
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
    host_bytes: int | None = None

    def broken(self, candidate: Candidate) -> Rule | None:
        """The first rule that excludes the candidate, or all candidates with these choices."""
        return broken_rule(
            candidate, device=self.device.kind, family=self.model.family, software=self.software
        )

    def rule(self, candidate: Candidate) -> str | None:
        """The reason of the first rule that excludes the candidate."""
        broken = self.broken(candidate)
        return f"{broken.reason} ({broken.cite})" if broken else None

    def refusal(self, candidate: Candidate) -> str | None:
        """Why the candidate gets no trial, or ``None`` if it is admitted."""
        reason = self.rule(candidate)
        if reason is not None:
            return reason
        floor = weights_floor(self.model, candidate, self.device.kind)
        if floor > self.budget_bytes:
            return f"the weights alone take {format_bytes(floor)}"
        return self._host_refusal(candidate)

    def _host_refusal(self, candidate: Candidate) -> str | None:
        if self.host_bytes is None or self.device.kind in ("cpu", "mps"):
            return None
        floor = host_floor(self.model, candidate)
        if floor <= self.host_bytes:
            return None
        return (
            f"the offloaded weights alone take {format_bytes(floor)} of host memory, "
            f"{format_bytes(self.host_bytes)} may be taken"
        )
