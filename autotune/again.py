"""Measure a recipe again on a device of this machine; see ``autotune.verify``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.asked import WHOLE_DEVICE
from autotune.errors import RecipeMismatch
from autotune.files import check_writable
from autotune.models.given import look_at
from autotune.probe import probe_machine
from autotune.probe.device import select_device
from autotune.probe.fingerprint import fingerprint
from autotune.recipe.apply import target_of
from autotune.recipe.check import check_recipe
from autotune.recipe.schema import Recipe
from autotune.recipe.write import write_recipe
from autotune.search.listener import Listener, Silence
from autotune.search.study_folder import new_folder
from autotune.search.verify import Verified, rewritten, verification, verify_recipe

if TYPE_CHECKING:
    from autotune.search.request import Request


def verify_here(
    recipe: Recipe,
    *,
    model: str | None,
    device: str | None,
    checkpoints: Mapping[str, str | Path],
    out: Path | None,
    force: bool,
    runs: Path,
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
        runs: Where the folder of the trials is made.
        start: Starts an engine.
        listener: Is told what happens.
    """
    listener = listener or Silence()
    listener.waiting("looking at the machine and the model")
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
    target = target_of(recipe, chosen, model=model, looked=looked)
    folder = new_folder(runs, f"verify-{target.model.id.rsplit('/', 1)[-1]}-{chosen.kind}")
    request = verification(recipe, target.model, machine, chosen, here, folder)
    listener.waiting("importing torch and diffusers")
    engine = start(request, listener)
    try:
        verified = verify_recipe(recipe, check, request, engine, listener)
    finally:
        engine.close()
    if out is None or not verified.holding.good:
        return verified
    emulated = recipe.budget.bytes < chosen.total_bytes * WHOLE_DEVICE
    write_recipe(rewritten(verified, emulated=emulated), out, overwrite=force)
    return replace(verified, recipe_path=out)
