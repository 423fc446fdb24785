"""The debug engine: trials run in the calling process, so that a breakpoint works.

Nothing is isolated: budgets are not enforced and one trial may leave traces in the next.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from autotune.engine.base import Step
from autotune.files import make_private
from autotune.records import Inspection, InspectSpec, Outcome, TrialSpec
from autotune.status import Status
from autotune.trial.wire import PROGRESS, SPEC, write_record


class DebugEngine:
    """Runs each trial inside ``submit``."""

    waited = False

    def __init__(self) -> None:
        self._found: list[Step | Outcome] = []

    def inspect(self, spec: InspectSpec, folder: Path) -> Inspection:
        """See Engine."""
        from autotune.trial.inspect import inspect_folder

        make_private(folder, exist_ok=True)
        write_record(folder, SPEC, spec)
        return inspect_folder(folder)

    def submit(self, spec: TrialSpec, folder: Path) -> str:
        """See Engine."""
        from autotune.trial.run import run_folder

        make_private(folder)
        write_record(folder, SPEC, spec.but(budget_bytes=None))
        outcome = run_folder(folder)
        if outcome.status is Status.CANCELLED:
            raise KeyboardInterrupt  # it reached the trial first, and was meant for the study
        for line in (folder / PROGRESS).read_text().splitlines():
            facts = json.loads(line)
            self._found.append(Step(trial=spec.trial, stage=facts.pop("stage"), facts=facts))
        self._found.append(outcome)
        return spec.trial

    def poll(self, timeout_s: float) -> Sequence[Step | Outcome]:
        """See Engine."""
        found, self._found = self._found, []
        return found

    def cancel(self, trial: str) -> bool:
        """See Engine. A trial is over before anyone could cancel it."""
        return any(isinstance(one, Outcome) and one.trial == trial for one in self._found)

    def close(self) -> None:
        """See Engine."""
