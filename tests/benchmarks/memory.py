"""How well memory is foreseen: predicted against measured peaks, on this machine's processor.

    python tests/benchmarks/memory.py [--models demo flux sd15 wan] [--record FILE]

Every candidate is run by the local engine, without a budget, in three fresh processes, of which
the median counts: glibc's heaps make a single peak 5 to 15 % higher or lower by chance. What is
expected is held against it, and that it stays within the peak that admission is promised, which
is what is expected with a margin. Candidates
are the baseline and, by themselves, two legal choices of each lever that changes memory; none that
compiles.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autotune.engine.local import LocalEngine
from autotune.estimate.memory import estimate_memory
from autotune.estimate.plan import plan_of
from autotune.estimate.profile import PROFILE, Profile, read_profile
from autotune.levers import start_up_s
from autotune.levers.rules import broken_rule
from autotune.models.resolve import resolve
from autotune.models.skeleton.make import make_skeleton
from autotune.probe import probe_machine
from autotune.records import Device, InspectSpec, Model, Outcome, TrialSpec
from autotune.search.request import SIZE
from autotune.status import Status

#: What the project promises (issue 4): the median error of what is expected, and how far a peak
#: may be above that with its margin.
MEDIAN_PROMISE = 0.10
BELOW_PROMISE = 0.05
MODELS = {"demo": "demo", "flux": "flux", "sd15": "sd15", "wan": "wan-1.3b"}
_LEVERS = (
    "dtype",
    "quantize-denoiser",
    "quantize-text-encoder",
    "vae-tiling",
    "vae-dtype",
    "attention",
    "attention-slicing",
    "fuse-qkv",
    "channels-last",
    "layerwise-casting",
    "text-encoders",
    "cache",
    "batch",
)
#: A tiny model that takes longer computes in a format that this processor emulates.
_DEADLINE_S = 60.0
#: Choices of a lever, and processes of a candidate.
_CHOICES, _PROCESSES = 2, 3


@dataclass(frozen=True, kw_only=True)
class Foreseen:
    """What was foreseen over what was measured, less one.

    ``error`` of what was expected, ``room`` of that with its margin, and ``highest`` of that
    over the highest of the processes.
    """

    error: float
    room: float
    highest: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--record", type=Path, help="append what was measured as JSON lines")
    asked = parser.parse_args()
    device = probe_machine().devices[-1]
    found = []
    for name in asked.models:
        with tempfile.TemporaryDirectory() as place:
            found += list(compare(name, Path(place), device, asked.record))
    report(found)


def compare(name: str, place: Path, device: Device, record: Path | None) -> Iterator[Foreseen]:
    """Run a model's candidates."""
    model = _model(name, place)
    engine = LocalEngine(device=device, pipeline=model.pipeline, folder=place)
    try:
        spec = InspectSpec(model=model, device=device)
        choices = engine.inspect(spec, place / "inspect").choices
        profile = read_profile(place / "inspect" / PROFILE)
        assert profile.uncounted is None, profile.uncounted
        for number, candidate in enumerate(candidates(choices, device, model)):
            outcomes = []
            for process in range(_PROCESSES):
                folder = place / f"{number:03}-{process}"
                outcomes.append(run(engine, model, device, candidate, folder))
                if outcomes[-1].status is not Status.MEASURED:
                    break
            else:
                yield show(name, profile, model, device, candidate, choices, outcomes, record)
                continue
            why = outcomes[-1].message or outcomes[-1].status
            print(f"  {name} {_changed(candidate, choices)}: {why}", flush=True)
    finally:
        engine.close()


def _model(name: str, place: Path) -> Model:
    if name == "demo":
        return resolve("demo")
    return resolve(str(make_skeleton(MODELS[name], place / name, tiny=True, quiet=True).folder))


def candidates(choices, device: Device, model: Model) -> Iterator[dict[str, str]]:
    baseline = {one.lever: one.id for one in choices if one.baseline}
    software = probe_machine().software
    yield baseline
    taken = Counter()
    for one in choices:
        candidate = {**baseline, one.lever: one.id}
        compiles = start_up_s(candidate) or one.id == "flex"  # which compiles its mask
        if one.baseline or one.unavailable or one.lever not in _LEVERS or compiles:
            continue
        rule = broken_rule(candidate, device=device.kind, family=model.family, software=software)
        if rule is None and taken[one.lever] < _CHOICES:
            taken[one.lever] += 1
            yield candidate


def run(engine, model, device, candidate, folder: Path) -> Outcome:
    spec = TrialSpec.model_validate(
        {
            "trial": folder.name,
            "purpose": "size",
            "model": model,
            "choices": candidate,
            "workload": model.workload,
            "device": device,
            "effort": SIZE,
            "budget_bytes": None,
            "deadline_s": _DEADLINE_S,
        }
    )
    engine.submit(spec, folder)
    while True:
        for event in engine.poll(0.5):
            if isinstance(event, Outcome):
                return event


def show(name, profile: Profile, model, device, candidate, choices, outcomes, record) -> Foreseen:
    estimate = estimate_memory(profile, plan_of(model, device, candidate))
    peaks = sorted(outcome.memory.peak_bytes for outcome in outcomes)
    measured = statistics.median(peaks)
    one = Foreseen(
        error=estimate.expected_bytes / measured - 1,
        room=estimate.peak_bytes / measured - 1,
        highest=estimate.peak_bytes / peaks[-1] - 1,
    )
    print(
        f"  {name:5} {_changed(candidate, choices):40} measured {measured / 1e6:6.1f} MB "
        f"({peaks[0] / 1e6:.1f} to {peaks[-1] / 1e6:.1f}) "
        f"expected {estimate.expected_bytes / 1e6:6.1f} MB {one.error:+7.1%}, "
        f"within {estimate.peak_bytes / 1e6:6.1f} MB {one.room:+7.1%}",
        flush=True,
    )
    if record is not None:
        with record.open("a") as file:
            row = {"model": name, "choices": candidate, "peaks_bytes": peaks}
            row |= {"weights": dict(outcomes[0].weights), "peak_bytes": measured}
            file.write(json.dumps(row) + "\n")
    return one


def _changed(candidate: dict[str, str], choices) -> str:
    baseline = {one.lever: one.id for one in choices if one.baseline}
    changes = [f"{lever}={id}" for lever, id in candidate.items() if baseline[lever] != id]
    return ", ".join(changes) or "baseline"


def report(found: list[Foreseen]) -> None:
    median = statistics.median(abs(one.error) for one in found)
    lowest = min(one.room for one in found)
    kept = median <= MEDIAN_PROMISE and lowest >= -BELOW_PROMISE
    print(
        f"expected / measured peak: median error {median:.1%} over {len(found)} candidates "
        f"(promise {MEDIAN_PROMISE:.0%}); with the margin, lowest {lowest:+.1%} "
        f"(promise {-BELOW_PROMISE:.0%}): {'kept' if kept else 'MISSED'}"
    )
    highest = [one.highest for one in found]
    print(
        f"of the highest of {_PROCESSES} processes each: lowest {min(highest):+.1%}, "
        f"{sum(one < -BELOW_PROMISE for one in highest)} lie lower than that promise"
    )


if __name__ == "__main__":
    main()
