"""A table engine that leaves its trials' folders behind, as the local engine does.

Run as a program it is the study of ``test_resume``, for tests to kill.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autotune.asked import Asked, make_request
from autotune.engine.base import Step
from autotune.records import Outcome, TrialSpec, candidate_key
from autotune.search import study
from autotune.search.listener import Silence
from autotune.search.proposals import Proposals
from autotune.search.runner import Runner
from autotune.search.study import run_study
from autotune.search.study_folder import StudyFolder
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


#: Where a study can be killed: whose function, before or after it, and at which call of it.
POINTS: dict[str, tuple[Any, str, str, int]] = {
    "a candidate is proposed": (Runner, "_run_now", "before", 2),
    "its spec is written": (FilingEngine, "submit", "after", 2),
    "its outcome is written": (Runner, "_wait", "after", 2),
    "it is told": (Proposals, "tell", "after", 2),
    "the recipe lies in a temporary file": (os, "replace", "before", 0),
    "the recipe is written": (study, "write_recipe", "after", 1),
    "the end is noted": (StudyFolder, "note", "before", 1),
}


def die_at(point: str) -> None:
    """Let this process be killed there, by the kernel."""
    owner, name, when, number = POINTS[point]
    genuine, calls = getattr(owner, name), itertools.count(1)

    def deadly(*arguments: Any, **named: Any) -> Any:
        # Whole files are written by rename: this is the one of the recipe.
        last = next(calls) == number or (not number and arguments[1].name == "recipe.json")
        if last and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = genuine(*arguments, **named)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)


def main(runs: Path, point: str | None = None) -> None:
    if point is not None:
        die_at(point)
    asked = Asked(vram="120MB", device="cpu", trials=8, runs=runs)
    request = make_request("demo", asked)
    definition = factory.make_request(request.folder).definition
    engine = FilingEngine(
        choices=factory.make_choices(), answer=WORLD, takes_s=0.0 if point else _TAKES_S
    )
    print("begun", flush=True)
    run_study(replace(request, definition=definition), engine, Silence())


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
