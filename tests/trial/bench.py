"""What tests of trials are made of: a CPU, tiny models, specs, and the chaos lever."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from autotune.models.resolve import resolve
from autotune.records import Device, Effort, Model, TrialSpec, Workload
from tests.tiny import TINY

ROOT = Path(__file__).resolve().parents[2]
CHAOS = ROOT / "tests" / "stubs" / "chaos"

CPU = Device(
    kind="cpu", uuid="cpu-of-tests", name="a CPU", total_bytes=16 << 30, free_bytes=16 << 30
)
SMALL = Workload(height=64, width=64, steps=2, max_sequence_length=32)
#: One warm-up, two pictures: the least that can tell two seeds apart.
SHORT = Effort(name="test", warmups=1, samples=2)


@cache
def tiny_model(name: str) -> Model:
    """The tiny pipeline of that name, built once for all tests and pinned."""
    folder = Path(os.environ["AUTOTUNE_CACHE"]) / "tiny" / name
    if not folder.exists():
        folder.parent.mkdir(exist_ok=True)
        TINY[name](folder)
    return resolve(str(folder))


def fitted(name: str, workload: Workload) -> Workload:
    """The workload, as a video of five frames where the pipeline of that name makes videos."""
    return workload.but(frames=5) if name == "wan" else workload


def trial_spec(trial: str = "t", model: str = "sd15", **changes: object) -> TrialSpec:
    """A short screen of the tiny model with no lever set; fields can be changed."""
    spec = TrialSpec(
        trial=trial,
        purpose="screen",
        model=tiny_model(model),
        choices={},
        workload=SMALL,
        device=CPU,
        effort=SHORT,
        budget_bytes=None,
        deadline_s=60.0,
        threads=1,
    )
    return spec.but(**changes)


def python_path() -> str:
    """A PYTHONPATH under which processes find autotune and the chaos lever."""
    return os.pathsep.join([str(ROOT), str(CHAOS)])
