"""Two recipes beside each other: in turns, in fresh processes, each within its own budget."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from autotune.engine.base import Engine
from autotune.errors import BadInput
from autotune.objective import Objective
from autotune.recipe.check import Check
from autotune.recipe.schema import Measured, Recipe
from autotune.records import Device, Fingerprint, Machine, Model
from autotune.search.confirm import Side, in_turns
from autotune.search.history import Tried
from autotune.search.listener import Listener
from autotune.search.publish import measured
from autotune.search.request import EFFORTS, Request, efforts_for
from autotune.search.verify import runner_of, verification
from autotune.stats.compare import Compared

#: What the recipes are called beside each other.
NAMES = ("A", "B")


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """What came out of both. ``failed`` is the trial that broke one; then nothing is compared.

    ``compared`` is of the first beside the second: a ratio above one says that the first is
    faster.
    """

    recipes: tuple[Recipe, Recipe]
    checks: tuple[Check, Check]
    sides: tuple[Measured | None, Measured | None]
    compared: Compared | None
    failed: Tried | None
    objective: Objective
    folder: Path

    @property
    def broken(self) -> str | None:
        """Which of them failed."""
        if self.failed is None:
            return None
        return NAMES[self.failed.candidate != self.recipes[0].choices]

    def differences(self) -> Iterator[tuple[str, str, str]]:
        """Each lever in which they differ, with both choices; the lever may be new to one."""
        first, second = (recipe.choices for recipe in self.recipes)
        for lever in sorted({*first, *second}):
            ours, theirs = first.get(lever, "-"), second.get(lever, "-")
            if ours != theirs:
                yield lever, ours, theirs


def check_comparable(first: Recipe, second: Recipe) -> None:
    """Refuse what differs in more than its choices.

    Raises:
        BadInput: With both values.
    """
    if first.choices == second.choices:
        raise BadInput(
            "both recipes choose the same: there is nothing to compare",
            hint="autotune verify measures one of them again",
        )
    for what, ours, theirs in _conditions(first, second):
        if ours != theirs:
            raise BadInput(
                f"the recipes cannot be compared: {what} is {ours} in {NAMES[0]} and {theirs} "
                f"in {NAMES[1]}",
                hint="tune both for the same model and workload",
            )


def _conditions(first: Recipe, second: Recipe) -> Iterator[tuple[str, object, object]]:
    for name in ("id", "revision", "weights"):
        yield f"the model's {name}", getattr(first.model, name), getattr(second.model, name)
    for name in type(first.workload).model_fields:
        yield (
            f"the workload's {name}",
            getattr(first.workload, name),
            getattr(second.workload, name),
        )
    yield "what counts", first.aim, second.aim


def comparison(
    recipes: tuple[Recipe, Recipe],
    model: Model,
    machine: Machine,
    device: Device,
    here: Fingerprint,
    folder: Path,
    effort: str | None,
) -> Request:
    """What is asked of the engine: the first recipe's question, with as much measuring as asked.

    Raises:
        BadInput: If there is no such effort.
    """
    request = verification(recipes[0], model, machine, device, here, folder)
    recorded = {recipe.evidence.effort.name for recipe in recipes}
    usual = next((name for name in reversed(tuple(EFFORTS)) if name in recorded), "standard")
    return replace(request, efforts=efforts_for(effort or usual, request.objective))


def measure(
    recipes: tuple[Recipe, Recipe],
    checks: tuple[Check, Check],
    request: Request,
    engine: Engine,
    listener: Listener,
) -> SideBySide:
    """Run both in turns, and judge.

    Raises:
        CannotRun: If the environment gives out.
    """
    listener.chapter(f"{NAMES[0]} and {NAMES[1]} in turns")
    runner = runner_of(recipes[1], request, engine, listener)
    first, second = (
        Side(
            candidate=recipe.choices,
            objective=request.objective,
            budget_bytes=recipe.budget.bytes,
        )
        for recipe in recipes
    )
    found = in_turns(runner, first, second, NAMES[1])
    compared, failed = (None, found) if isinstance(found, Tried) else (found, None)
    sides = [
        measured(side.candidate, side.outcomes) if compared is not None else None
        for side in (first, second)
    ]
    return SideBySide(
        recipes=recipes,
        checks=checks,
        sides=(sides[0], sides[1]),
        compared=compared,
        failed=failed,
        objective=request.objective,
        folder=request.folder,
    )
