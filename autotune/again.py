"""Measure recipes again on a device of this machine: one alone, or two beside each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.asked import WHOLE_DEVICE
from autotune.errors import BadInput, RecipeMismatch
from autotune.files import check_writable
from autotune.models.given import look_at
from autotune.objective import STEADY
from autotune.probe import probe_machine
from autotune.probe.device import select_device
from autotune.probe.fingerprint import fingerprint
from autotune.recipe.apply import check_offered, check_rules, model_of
from autotune.recipe.check import check_recipe
from autotune.recipe.schema import Recipe
from autotune.recipe.write import write_recipe
from autotune.records import Choice, InspectSpec
from autotune.search.listener import Listener, Silence
from autotune.search.request import efforts_for
from autotune.search.side_by_side import SideBySide, check_comparable, comparison, measure
from autotune.search.study_folder import new_folder, runs_folder
from autotune.search.verify import Verified, rewritten, verification, verify_recipe

if TYPE_CHECKING:
    from autotune.engine.base import Engine
    from autotune.search.request import Request


def verify_here(
    recipe: Recipe,
    *,
    model: str | None,
    device: str | None,
    checkpoints: Mapping[str, str | Path],
    out: Path | None,
    force: bool,
    within: float,
    runs: str | Path,
    start: Callable[[Request, Listener], Any],
    listener: Listener | None,
) -> Verified:
    """Check, measure, judge, and write the recipe anew where that is asked for.

    Args:
        recipe: What was recorded.
        model: Where the model is, if the recipe cannot say.
        device: Where to measure.
        checkpoints: Files that the recipe was measured with.
        out: Where to write the recipe with these numbers.
        force: Replace a file that exists.
        within: By which share it may be slower than the slowest of its processes was.
        runs: Where the folder of the trials is made.
        start: Starts an engine.
        listener: Is told what happens.
    """
    listener = listener or Silence()
    listener.waiting("looking at the machine and the model")
    place = runs_folder(runs)
    if out is not None:
        check_writable(out, overwrite=force)
    looked = look_at(checkpoints)
    machine = probe_machine()
    chosen = select_device(machine, device)
    here = fingerprint(machine, chosen)
    check = check_recipe(recipe, machine, chosen, here)
    if recipe.evidence.winner.peak_bytes > chosen.total_bytes:
        raise RecipeMismatch(
            f"the recipe cannot be measured here: {check.problems[0]}",
            hint="autotune suggest finds a setup for this device",
        )
    found = model_of(recipe, model=model, looked=looked)
    check_rules(recipe, chosen, found.family)
    folder = new_folder(place, f"verify-{found.id.rsplit('/', 1)[-1]}-{chosen.kind}")
    request = verification(recipe, found, machine, chosen, here, folder)
    listener.waiting("importing torch and diffusers")
    engine = start(request, listener)
    try:
        _check_offered(engine, request, recipe)
        verified = verify_recipe(recipe, check, request, engine, listener, within)
    finally:
        engine.close()
    if out is None or not verified.holding.good:
        return verified
    emulated = recipe.budget.bytes < chosen.total_bytes * WHOLE_DEVICE
    write_recipe(rewritten(verified, emulated=emulated), out, overwrite=force)
    return replace(verified, recipe_path=out)


def compare_here(
    recipes: tuple[Recipe, Recipe],
    *,
    model: str | None,
    device: str | None,
    checkpoints: Mapping[str, str | Path],
    effort: str | None,
    runs: str | Path,
    start: Callable[[Request, Listener], Any],
    listener: Listener | None,
) -> SideBySide:
    """Check both, measure them in turns, and judge.

    Args:
        recipes: What is compared, and with what.
        model: Where their model is, if they cannot say.
        device: Where to measure.
        checkpoints: Files that they were measured with.
        effort: How much is measured; by default as the more thorough of the two was.
        runs: Where the folder of the trials is made.
        start: Starts an engine.
        listener: Is told what happens.
    """
    listener = listener or Silence()
    listener.waiting("looking at the machine and the model")
    place = runs_folder(runs)
    if effort is not None:
        efforts_for(effort, STEADY)  # refused before a folder is made
    check_comparable(*recipes)
    looked = look_at(checkpoints)
    machine = probe_machine()
    chosen = select_device(machine, device)
    here = fingerprint(machine, chosen)
    checks = tuple(check_recipe(one, machine, chosen, here) for one in recipes)
    found = [model_of(one, model=model, looked=looked) for one in recipes]
    for recipe, own in zip(recipes, found, strict=True):
        if own != found[0]:
            raise BadInput(
                "the recipes were measured with different files in place of weights",
                hint="autotune verify measures each alone, with its --checkpoint",
            )
        check_rules(recipe, chosen, own.family)
    folder = new_folder(place, f"compare-{found[0].id.rsplit('/', 1)[-1]}-{chosen.kind}")
    request = comparison(recipes, found[0], machine, chosen, here, folder, effort)
    listener.waiting("importing torch and diffusers")
    engine = start(request, listener)
    try:
        _check_offered(engine, request, *recipes)
        return measure(recipes, (checks[0], checks[1]), request, engine, listener)
    finally:
        engine.close()


def _check_offered(engine: Engine, request: Request, *recipes: Recipe) -> None:
    """Whether every choice can be had here, asked where torch is imported anyway."""
    spec = InspectSpec(model=request.model, device=request.device, counted=False)
    offered: dict[str, list[Choice]] = {}
    for choice in engine.inspect(spec, request.folder / "inspect").choices:
        offered.setdefault(choice.lever, []).append(choice)
    for recipe in recipes:
        check_offered(recipe, offered)
