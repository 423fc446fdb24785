"""A table engine that leaves its trials' folders behind, as the local engine does.

Run as a program it is the study of ``test_resume``, for tests to kill.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autotune.asked import Asked, make_request
from autotune.engine.base import Step
from autotune.records import Outcome, TrialSpec, candidate_key
from autotune.search.listener import Silence
from autotune.search.study import run_study
from autotune.trial.wire import OUTCOME, SPEC, read_outcome, read_record, write_record
from tests.search import factory
from tests.search.table_engine import TableEngine, World

#: fp16 is twice as fast, and small enough. No noise: what a candidate takes is the same whenever
#: it is run.
WORLD = World(
    effects={
        "dtype=fp16": (0.5, 0.9),
        "attention=native-flash": (0.9, 1.0),
        "vae-tiling=half": (1.2, 0.8),
    }
)
#: More than what a study gets done between two kills, on the whole.
_TAKES_S = 0.2


@dataclass(kw_only=True)
class FilingEngine(TableEngine):
    """Writes what goes in and what comes out, by rename."""

    folder: Path = Path()

    def submit(self, spec: TrialSpec, folder: Path) -> str:
        folder.mkdir(parents=True)
        write_record(folder, SPEC, spec)
        self.folder = folder
        return super().submit(spec, folder)

    def poll(self, timeout_s: float) -> Sequence[Step | Outcome]:
        events = super().poll(timeout_s)
        for event in events:
            if isinstance(event, Outcome):
                write_record(self.folder, OUTCOME, event)
        return events


def ran(folder: Path) -> Counter[str]:
    """How often each trial was run to an outcome, by what it was for."""
    found: Counter[str] = Counter()
    for place in (folder / "trials").iterdir():
        try:
            outcome = read_outcome(place, place.name)
        except ValueError:
            continue  # it was cut off
        spec = read_record(place, SPEC, TrialSpec)
        assert outcome.trial == spec.trial
        found[f"{spec.purpose} {candidate_key(spec.choices)}"] += 1
    return found


def main(runs: Path) -> None:
    asked = Asked(vram="120MB", device="cpu", trials=8, runs=runs)
    request = make_request("demo", asked)
    definition = factory.make_request(request.folder).definition
    engine = FilingEngine(choices=factory.make_choices(), answer=WORLD, takes_s=_TAKES_S)
    print("begun", flush=True)
    run_study(replace(request, definition=definition), engine, Silence())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
