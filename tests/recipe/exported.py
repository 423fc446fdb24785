"""Recipes of tiny pipelines to be exported, one for every choice that a CPU can run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from autotune.probe import probe_machine
from autotune.probe.device import select_device
from autotune.probe.fingerprint import fingerprint
from autotune.recipe.schema import Recipe, RecipeModel
from autotune.records import Model, Workload
from tests.contract.rows import ROWS
from tests.recipe.factory import make_recipe
from tests.trial.bench import fitted, tiny_model

BASELINE: Mapping[str, str] = {row.lever: row.baseline for row in ROWS}
#: What there is no plain code for.
REFUSED = {
    ("compile", "jit-trace"),
    ("offload", "staged"),
    ("text-encoders", "precomputed"),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One choice, the others as they are without it."""

    lever: str
    choice: str
    pipeline: str
    workload: Workload
    #: Refused on a CPU, and works there all the same.
    forced: bool = False

    def __str__(self) -> str:
        return f"{self.lever}={self.choice}-{self.pipeline}"

    @property
    def choices(self) -> dict[str, str]:
        return {**BASELINE, self.lever: self.choice}

    @property
    def compiles(self) -> bool:
        return self.lever.startswith("compile") and self.choice not in ("none", "off")


def every_case() -> Iterator[Case]:
    """Every choice once, on the first pipeline that takes it; of the rest each pipeline plain."""
    for pipeline in ("flux", "sd15", "wan", "sana"):
        yield _case("dtype", "fp32", pipeline, Workload(height=64, width=64, steps=2))
    done = {(lever, choice) for lever, choice in BASELINE.items()}
    for row in ROWS:
        for pipeline, accepted in row.accepts.items():
            forced = row.forced.get(pipeline, "").split()
            for choice in (*accepted.split(), *forced):
                if (row.lever, choice) not in done | REFUSED:
                    done.add((row.lever, choice))
                    yield _case(row.lever, choice, pipeline, row.workload, choice in forced)


def _case(
    lever: str, choice: str, pipeline: str, workload: Workload, forced: bool = False
) -> Case:
    return Case(
        lever=lever,
        choice=choice,
        pipeline=pipeline,
        workload=fitted(pipeline, workload),
        forced=forced,
    )


def recipe_of(
    model: Model, workload: Workload, choices: Mapping[str, str], **changes: object
) -> Recipe:
    """A recipe of these choices, as if it were measured on this processor."""
    machine = probe_machine()
    return make_recipe(
        model=RecipeModel(
            id=model.id,
            revision=model.revision,
            source=model.source,
            pipeline=model.pipeline,
            weights=model.weights,
        ),
        workload=workload,
        choices=dict(choices),
        fingerprint=fingerprint(machine, select_device(machine, "cpu")),
        **changes,
    )


def recipe_for(case: Case) -> Recipe:
    return recipe_of(tiny_model(case.pipeline), case.workload, case.choices)
