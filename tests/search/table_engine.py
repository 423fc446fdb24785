"""An engine that answers from a function instead of a device: the engine protocol, no processes.

``World`` describes a device by what each choice does to time and memory, with seeded noise.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autotune.engine.base import Step
from autotune.records import (
    Candidate,
    Choice,
    Evidence,
    Health,
    Inspection,
    InspectSpec,
    Memory,
    Outcome,
    TrialSpec,
    candidate_key,
)
from autotune.status import Status

Answer = Callable[[TrialSpec], Outcome]


@dataclass(kw_only=True)
class TableEngine:
    """Runs nothing: ``answer`` says how each trial ends, ``takes_s`` how long that takes."""

    choices: tuple[Choice, ...]
    answer: Answer
    takes_s: float | Callable[[TrialSpec], float] = 0.0
    specs: list[TrialSpec] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    _found: list[Step | Outcome] = field(default_factory=list)
    _running: tuple[TrialSpec, float] | None = None

    def inspect(self, spec: InspectSpec, folder: Path) -> Inspection:
        return Inspection(choices=self.choices)

    def submit(self, spec: TrialSpec, folder: Path) -> str:
        self.specs.append(spec)
        self._found.append(Step(trial=spec.trial, stage="load", facts={}))
        takes_s = self.takes_s(spec) if callable(self.takes_s) else self.takes_s
        self._running = (spec, time.monotonic() + takes_s)
        return spec.trial

    def poll(self, timeout_s: float) -> Sequence[Step | Outcome]:
        if self._running is not None:
            spec, ends = self._running
            time.sleep(max(0.0, min(timeout_s, ends - time.monotonic())))
            if time.monotonic() >= ends:
                self._running = None
                self._found.append(self.answer(spec))
        found, self._found = self._found, []
        return found

    def cancel(self, trial: str) -> bool:
        self.cancelled.append(trial)
        self._running = None
        self._found.append(failed(trial, Status.CANCELLED))
        return True

    def close(self) -> None:
        self._running = None

    def tried(self, purpose: str) -> list[dict[str, str]]:
        """The candidates of the trials with that purpose, in order."""
        return [dict(spec.choices) for spec in self.specs if spec.purpose == purpose]


@dataclass(kw_only=True)
class World:
    """Time and memory of a candidate: those of the baseline times each choice's factors."""

    latency_s: float = 1.0
    peak_bytes: int = 100_000_000
    effects: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    #: Seconds by which the first call with a choice takes longer.
    starts: Mapping[str, float] = field(default_factory=dict)
    noise: float = 0.0
    seed: int = 0

    def truth(self, candidate: Candidate) -> tuple[float, int]:
        """Seconds and bytes without noise."""
        seconds, peak = self.latency_s, float(self.peak_bytes)
        for lever, id in candidate.items():
            faster, leaner = self.effects.get(f"{lever}={id}", (1.0, 1.0))
            seconds, peak = seconds * faster, peak * leaner
        return seconds, int(peak)

    def __call__(self, spec: TrialSpec) -> Outcome:
        """Measure as the trial process does: noise of the process, and of each generation."""
        seconds, peak = self.truth(spec.choices)
        # Noise of its own for each trial, whatever ran before.
        lot = random.Random(f"{self.seed} {spec.trial} {candidate_key(spec.choices)}")
        process = seconds * (1 + lot.gauss(0, self.noise))
        samples = tuple(
            process * (1 + lot.gauss(0, self.noise / 3)) for _ in range(spec.effort.samples)
        )
        outcome = measured(spec, samples, peak)
        chosen = (f"{lever}={id}" for lever, id in spec.choices.items())
        start_s = sum(self.starts.get(one, 0.0) for one in chosen)
        return outcome.but(first_s=2 * samples[0] + start_s)


def measured(spec: TrialSpec, samples: tuple[float, ...], peak_bytes: int) -> Outcome:
    """What a trial that reached its end says; over the budget if there is one that is smaller."""
    over = spec.budget_bytes is not None and peak_bytes > spec.budget_bytes
    return Outcome(
        trial=spec.trial,
        status=Status.OVER_BUDGET if over else Status.MEASURED,
        stage="decode" if over else "done",
        message=f"peak {peak_bytes} bytes, budget {spec.budget_bytes} bytes" if over else "",
        load_s=0.5,
        first_s=2 * samples[0],
        warmups_s=(2 * samples[0],),
        samples_s=samples,
        memory=Memory(
            level_bytes=1000,
            peak_bytes=peak_bytes,
            phases={"load": peak_bytes // 2, "denoise": peak_bytes, "decode": peak_bytes // 3},
            how="a table",
        ),
        weights={"transformer": peak_bytes // 4, "vae": peak_bytes // 20},
        health=Health(finite=True, deviation=0.2, differs_by_seed=True),
        engaged={lever: Evidence(engaged=True, detail="seen") for lever in spec.choices},
        seconds=sum(samples),
    )


def failed(trial: str, status: Status, message: str = "as the table says") -> Outcome:
    """What a trial that broke says."""
    return Outcome(trial=trial, status=status, stage="denoise", message=message, seconds=0.1)
