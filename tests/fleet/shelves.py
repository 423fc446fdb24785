"""Recipes of many machines, and a device to look them up for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.fleet.find import Wanted
from autotune.recipe.schema import Budget, Quality, Recipe, RecipeModel
from autotune.records import Device, Fidelity, Fingerprint, Workload
from autotune.stats.compare import Verdict
from tests.recipe.factory import make_evidence, make_measured, make_recipe

GB = 1_000_000_000
COMMIT = "0123456789" * 4
FLUX = "black-forest-labs/FLUX.1-dev"
HERE: Mapping[str, Any] = {
    "kind": "cuda",
    "name": "NVIDIA GeForce RTX 4070",
    "total_bytes": 12 * GB,
    "compute_capability": "8.9",
    "driver": "580.1",
}
SOFTWARE = {"torch": "2.13.0", "diffusers": "0.42.1"}


def machine(software: Mapping[str, str] = SOFTWARE, **device: object) -> Fingerprint:
    """The machine of these tests with some of its card, or of its packages, changed."""
    return Fingerprint(
        device={**HERE, **device},  # type: ignore[dict-item]
        host={"os": "Linux", "arch": "x86_64"},
        software=software,
    )


def recipe(
    *,
    seconds: float = 1.0,
    peak: int = 8 * GB,
    budget: int = 12 * GB,
    on: Fingerprint | None = None,
    choices: Mapping[str, str] | None = None,
    asked: Fidelity | None = Fidelity.BALANCED,
    emulated: bool = False,
    host_bytes: int | None = None,
    steps: int = 28,
    size: int = 1024,
    **changes: object,
) -> Recipe:
    """A confirmed recipe of Flux, of four processes that took just so long."""
    chosen = dict(choices or {"dtype": "bf16", "offload": "model"})
    winner = make_measured(chosen, [[seconds, seconds * 1.01]] * 4, peak)
    evidence = make_evidence()
    fields: dict[str, object] = {
        "model": RecipeModel(
            id=FLUX, revision=COMMIT, source="hub", pipeline="FluxPipeline", weights="real"
        ),
        "workload": Workload(height=size, width=size, steps=steps),
        "budget": Budget(asked="what is free", bytes=budget, emulated=emulated),
        "choices": chosen,
        "evidence": evidence.but(
            winner=winner.but(host_bytes=host_bytes),
            baseline=None,
            comparison=evidence.comparison.but(
                verdict=Verdict.CANNOT_SAY, ratio=None, ratio_low=None, ratio_high=None
            ),
            quality=Quality(health="passed", fidelity="not assessed", why="", asked=asked),
        ),
        "refused": (),
        "frontier": (),
        "fingerprint": on or machine(),
    }
    return make_recipe(**{**fields, **changes})


def wanted(**changes: Any) -> Wanted:
    """Flux at its default workload, within all of the card."""
    device = Device(uuid="GPU-1", free_bytes=12 * GB, **HERE)
    fields: dict[str, Any] = {
        "device": device,
        "here": machine(),
        "models": frozenset({FLUX.casefold()}),
        "skeletons": frozenset({"flux"}),
        "budget_bytes": 12 * GB,
        "host_bytes": 64 * GB,
        "sizes": (1024, 1024, 0, 28, 1),
    }
    return Wanted(**{**fields, **changes})
