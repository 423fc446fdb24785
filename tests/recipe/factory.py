"""Recipes that are true, for tests: every number follows from the samples."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence

from autotune.files import canonical_json, digest, pretty_json
from autotune.recipe.schema import (
    Budget,
    Comparison,
    EvidenceBlock,
    FrontierPoint,
    Measured,
    Quality,
    Recipe,
    RecipeModel,
    Refused,
)
from autotune.recipe.write import render_recipe
from autotune.records import Effort, Evidence, Fingerprint, Workload
from autotune.stats.compare import Verdict, compare
from autotune.status import Status

BASELINE = {"attention": "native", "dtype": "fp32", "vae_tiling": "off"}
CHOICES = {"attention": "native", "dtype": "bf16", "vae_tiling": "on"}
FAST = ((0.51, 0.5, 0.52), (0.5, 0.5, 0.51), (0.52, 0.53, 0.5), (0.49, 0.5, 0.5))
SLOW = ((1.01, 1.0, 1.02), (1.0, 1.0, 1.01), (1.02, 1.03, 1.0), (0.99, 1.0, 1.0))


def make_measured(
    choices: dict[str, str], processes: Sequence[Sequence[float]], peak_bytes: int
) -> Measured:
    """One candidate whose latency follows from its samples."""
    return Measured(
        choices=choices,
        processes_s=tuple(tuple(process) for process in processes),
        latency_s=statistics.median(statistics.median(process) for process in processes),
        first_s=0.9,
        load_s=1.5,
        peak_bytes=peak_bytes,
        phases_bytes={"load": peak_bytes // 2, "denoise": peak_bytes, "decode": peak_bytes // 3},
        binds="transformer during denoise",
        engaged={name: Evidence(engaged=True, detail="seen in 12 modules") for name in choices},
    )


def make_evidence(
    winner: Sequence[Sequence[float]] = FAST, baseline: Sequence[Sequence[float]] | None = SLOW
) -> EvidenceBlock:
    """Evidence whose comparison follows from the samples of both sides."""
    comparison = Comparison(
        verdict=Verdict.CANNOT_SAY, ratio=None, ratio_low=None, ratio_high=None, why="no baseline"
    )
    if baseline is not None:
        found = compare(winner, baseline)
        comparison = Comparison(
            verdict=found.verdict,
            ratio=found.ratio,
            ratio_low=found.low,
            ratio_high=found.high,
            why=found.why,
        )
    return EvidenceBlock(
        winner=make_measured(CHOICES, winner, 300_000_000),
        baseline=make_measured(BASELINE, baseline, 500_000_000) if baseline else None,
        comparison=comparison,
        quality=Quality(health="passed", fidelity="not assessed", why="random weights"),
        effort=Effort(name="standard", samples=3),
        trials=12,
        seconds=93.5,
    )


def make_recipe(**changes: object) -> Recipe:
    """A recipe with some of its top-level fields changed."""
    recipe = Recipe(
        writer="autotune 0.1.0",
        status="confirmed",
        model=RecipeModel(
            id="demo", revision="1", source="demo", pipeline="FluxPipeline", weights="random"
        ),
        workload=Workload(height=256, width=256, steps=4),
        budget=Budget(asked="400MB", bytes=400_000_000, emulated=True),
        choices=CHOICES,
        evidence=make_evidence(),
        refused=(
            Refused(
                choices={**CHOICES, "attention": "xformers"},
                status=Status.OVER_BUDGET,
                reason="needs 450 MiB",
                latency_s=0.4,
                peak_bytes=471_859_200,
            ),
        ),
        frontier=(FrontierPoint(peak_bytes=300_000_000, latency_s=0.5, choices=CHOICES),),
        fingerprint=Fingerprint(
            device={"kind": "cpu", "name": "A CPU", "total_bytes": 8 * 1024**3},
            host={"os": "Linux", "usable_cores": 2},
            software={"diffusers": "0.42.1", "torch": "2.13.0"},
        ),
    )
    return recipe.but(**changes) if changes else recipe


def make_document(**changes: object) -> dict[str, object]:
    """The JSON of a recipe without its digest, to be damaged by a test and then signed."""
    document: dict[str, object] = json.loads(render_recipe(make_recipe(**changes)))
    del document["digest"]
    return document


def sign(document: dict[str, object]) -> bytes:
    """The bytes of a document with the digest that belongs to it, true or not."""
    return pretty_json({**document, "digest": digest(canonical_json(document))})
