"""What a study is asked to do: checked once, then only read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from autotune.records import Device, Effort, Fidelity, Fingerprint, Machine, Model
from autotune.search.definition import Definition

#: Half of the 20 to 40 minutes users will pay on a GPU (numbers.md F4), one minute on the demo.
DEFAULT_TRIALS = 12
SCREEN = Effort(name="screen", warmups=2, samples=3)
CONFIRM = Effort(name="confirm", warmups=2, samples=2)
SIZE = Effort(name="size", warmups=1, samples=1)
#: As many pictures as are compared.
NOISE = Effort(name="noise", warmups=1, samples=3)

#: The samplers that are offered, with what each does.
NAMES: Mapping[str, str] = {
    "shortlist": "from what is foreseen, then one lever at a time around the best",
    "tpe": "Optuna's, multivariate, which knows no predictions",
    "gp": "Optuna's Gaussian process, which needs scipy",
    "random": "by lot",
    "grid": "every candidate, in an order by lot",
}


@dataclass(frozen=True, kw_only=True)
class Request:
    """Everything a study needs; ``model.workload`` is what will be generated."""

    model: Model
    machine: Machine
    device: Device
    fingerprint: Fingerprint
    budget_asked: str
    budget_bytes: int
    emulated: bool
    definition: Definition
    quality: Fidelity
    ram_bytes: int | None
    pins: Mapping[str, str]
    trials: int
    time_s: float | None
    seed: int
    folder: Path
    recipe_path: Path
    overwrite: bool
    sampler: str = "shortlist"
    exhaustive: bool = False
    record: Path | None = None
    against: str | None = None
