"""What an engine is: it takes specs and gives back outcomes. It never asks and never decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from autotune.records import Inspection, InspectSpec, Outcome, TrialSpec


@dataclass(frozen=True, kw_only=True)
class Step:
    """Where a running trial is."""

    trial: str
    stage: str
    facts: Mapping[str, int | float | str]


class Engine(Protocol):
    """Runs trials, one at a time on a device."""

    def inspect(self, spec: InspectSpec, folder: Path) -> Inspection:
        """Ask the levers what they can do, where torch is imported."""

    def submit(self, spec: TrialSpec, folder: Path) -> str:
        """Start a trial in its folder; returns the trial's id."""

    def poll(self, timeout_s: float) -> Sequence[Step | Outcome]:
        """What happened since the last poll, waiting up to ``timeout_s`` for something to."""

    def cancel(self, trial: str) -> bool:
        """End a trial; false if it has ended, and ``poll`` said so or was interrupted in that.

        Otherwise its outcome, ``cancelled``, comes through ``poll``.
        """

    def close(self) -> None:
        """End everything that is still running and let go of the device."""
