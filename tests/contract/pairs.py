"""Every pair of choices that a CPU can run on a tiny pipeline, and what the table says of it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from autotune.levers import offered_choices
from autotune.levers.rule import Rule
from autotune.levers.rules import broken_rule
from autotune.models.structure import Structure
from autotune.probe.software import probe_software
from autotune.records import Effort, Model, TrialSpec, Workload
from autotune.status import Status
from tests.contract.rows import ROWS
from tests.trial.bench import CPU, fitted, tiny_model

#: ``tox -e pairs``: everything, where the normal run takes a sample.
ALL = os.environ.get("AUTOTUNE_PAIRS") == "all"
#: A transformer, a UNet and a video model.
PIPELINES = ("flux", "sd15", "wan")
#: Large enough for tiles of a half, two pictures to slice, enough steps for a cache to pay.
WORKLOAD = Workload(height=128, width=128, steps=9, batch=2, max_sequence_length=32)
#: One discarded and watched, one counted: what comes of it, not how fast.
ONCE = Effort(name="pair", warmups=1, samples=1)
#: How a trial of a pair that does not go together ends.
FAILS = (
    Status.UNSUPPORTED,
    Status.NOT_APPLIED,
    Status.BAD_OUTPUT,
    Status.CRASHED,
)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two levers off their baseline, all others on it."""

    pipeline: str
    first: tuple[str, str]
    second: tuple[str, str]

    def __str__(self) -> str:
        named = " ".join(f"{lever}={choice}" for lever, choice in (self.first, self.second))
        return f"{self.pipeline} {named}"

    @property
    def candidate(self) -> dict[str, str]:
        return dict(baseline(self.pipeline)) | dict((self.first, self.second))

    @property
    def rule(self) -> Rule | None:
        """The row of the table that forbids the pair here."""
        return forbidden(self.pipeline, self.candidate)

    @property
    def compiles(self) -> bool:
        return any(lever.startswith("compile") for lever, _ in (self.first, self.second))


def prepared_folder() -> Path:
    """What all trials of a test session share: quantized weights, traces, compiled kernels."""
    return Path(os.environ["AUTOTUNE_CACHE"]) / "prepared"


def forbidden(pipeline: str, candidate: Mapping[str, str]) -> Rule | None:
    """The first row of the table that forbids the candidate on this CPU."""
    return broken_rule(
        candidate, device="cpu", family=model_of(pipeline).family, software=_software()
    )


@cache
def _software() -> Mapping[str, str]:
    return probe_software()


@cache
def model_of(pipeline: str) -> Model:
    """The tiny pipeline with the workload of the walk, known to have random weights (D16)."""
    return tiny_model(pipeline).but(workload=fitted(pipeline, WORKLOAD), weights="random")


@cache
def baseline(pipeline: str) -> Mapping[str, str]:
    """Each lever's baseline."""
    return {choice.lever: choice.id for choice in _offered(pipeline) if choice.baseline}


@cache
def runnable(pipeline: str) -> tuple[tuple[str, str], ...]:
    """Each choice off its baseline that is available, or that a CPU runs when forced to."""
    forced = {
        (row.lever, choice) for row in ROWS for choice in str(row.forced.get(pipeline, "")).split()
    }
    return tuple(
        (choice.lever, choice.id)
        for choice in _offered(pipeline)
        if not choice.baseline
        and (choice.unavailable is None or (choice.lever, choice.id) in forced)
    )


def pairs(pipeline: str) -> Iterator[Pair]:
    """All pairs of two different levers."""
    for first, second in itertools.combinations(runnable(pipeline), 2):
        if first[0] != second[0]:
            yield Pair(pipeline=pipeline, first=first, second=second)


def spec_of(
    pipeline: str, candidate: Mapping[str, str], name: str, **changes: object
) -> TrialSpec:
    """One short trial of the candidate."""
    model = model_of(pipeline)
    spec = TrialSpec(
        trial=name,
        purpose="screen",
        model=model,
        choices=dict(candidate),
        workload=model.workload,
        device=CPU,
        effort=ONCE,
        budget_bytes=None,
        deadline_s=800.0,
        threads=1,
    )
    return spec.but(**changes)


@cache
def _offered(pipeline: str) -> tuple:  # type: ignore[type-arg]
    model = model_of(pipeline)
    view = Structure(model, model.workload)
    return tuple(one for found in offered_choices(CPU, view).values() for one in found)
