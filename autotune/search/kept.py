"""What an interrupted study has run already: taken from its folders instead of run again.

A search proposes the same for the same outcomes, so going through it again with what is kept ends
where it was interrupted. Folders without a readable outcome are those of trials that were cut off;
an outcome that was not yet held against what was filmed says too little.
"""

from __future__ import annotations

import json
from collections import defaultdict, deque
from dataclasses import dataclass, field
from pathlib import Path

from autotune.records import Outcome, TrialSpec
from autotune.status import Status, Teaches
from autotune.trial.wire import OUTCOME, SPEC, UNJUDGED, read_outcome, read_record


@dataclass(kw_only=True)
class Kept:
    """Outcomes by what was run, in the order in which they were.

    ``highest`` is the largest number of a trial's folder, whether or not it has an outcome, and
    ``damaged`` are the folders with one that cannot be read.
    """

    highest: int = 0
    damaged: list[str] = field(default_factory=list)
    _found: dict[str, deque[Outcome]] = field(default_factory=lambda: defaultdict(deque))

    def __len__(self) -> int:
        return sum(map(len, self._found.values()))

    @property
    def left_out(self) -> str:
        """The first of what is damaged, and how much is."""
        listed = ", ".join(self.damaged[:3]) + (", …" if len(self.damaged) > 3 else "")
        return f"{listed} ({len(self.damaged)} in all)"

    def take(self, spec: TrialSpec) -> Outcome | None:
        """The outcome of such a trial, once; ``None`` if it has to be run."""
        found = self._found.get(_key(spec))
        return found.popleft() if found else None

    def add(self, spec: TrialSpec, outcome: Outcome) -> None:
        """Keep an outcome, unless it says nothing about its candidate."""
        if outcome.status is Status.MEASURED or outcome.status.teaches is Teaches.CANDIDATE:
            self._found[_key(spec)].append(outcome)


def read_kept(trials: Path) -> Kept:
    """Read what lies in the folder of a study's trials; what cannot be read was not run."""
    kept = Kept()
    for folder in sorted(trials.glob("[0-9]*")):
        if not folder.name.isdigit():
            continue
        kept.highest = max(kept.highest, int(folder.name))
        if (folder / UNJUDGED).exists():
            continue
        try:
            spec = read_record(folder, SPEC, TrialSpec)
            kept.add(spec, read_outcome(folder, folder.name))
        except ValueError:
            if (folder / OUTCOME).exists():
                kept.damaged.append(folder.name)
    return kept


def _key(spec: TrialSpec) -> str:
    """What decides an outcome: deadlines follow from others, and clocks of a device change."""
    return json.dumps(
        [
            spec.purpose,
            sorted(spec.choices.items()),
            spec.model.revision,
            spec.device.uuid,
            spec.workload.model_dump(mode="json"),
            spec.effort.model_dump(mode="json"),
            spec.budget_bytes,
            spec.ram_bytes,
        ]
    )
