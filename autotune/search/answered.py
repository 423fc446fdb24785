"""A question that a study here has answered already: its recipes, read and not measured again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from autotune.errors import AutotuneError
from autotune.recipe.read import read_recipe
from autotune.recipe.schema import Recipe
from autotune.recipe.write import write_recipe
from autotune.search.history import History
from autotune.search.listener import Listener
from autotune.search.showcase import SHEET
from autotune.search.space import Space
from autotune.search.study_folder import STUDY, ended_studies

if TYPE_CHECKING:
    from autotune.search.request import Request
    from autotune.search.study import Result
    from autotune.search.study_folder import Study


def find_answers(runs: Path, study: Study, requests: Sequence[Request]) -> list[Request]:
    """The requests with the recipe that answers each, of one study; none if there is none.

    A study answers if it asked the same on a machine that is the same to the fingerprint, tried at
    least as many candidates, and every one of its recipes is there, unchanged and confirmed, and
    fits what may be taken now.
    """
    for folder, found in ended_studies(runs, study):
        if found.trials < requests[0].trials:
            continue
        answers = [_answered(one, folder, found) for one in requests]
        if all(answers):
            return [one for one in answers if one is not None]
    return []


def _answered(request: Request, folder: Path, study: Study) -> Request | None:
    name = study.recipes.get(str(study.budget(request.vram)))
    if name is None:
        return None
    path = folder / name
    try:
        recipe = read_recipe(path)
    except AutotuneError:
        return None  # it was moved, or changed
    fits = recipe.evidence.winner.peak_bytes <= request.budget_bytes
    if recipe.status != "confirmed" or recipe.modified or not fits:
        return None
    return replace(
        request,
        budget_bytes=recipe.budget.bytes,
        budget_asked=recipe.budget.asked,
        folder=folder,
        recipe_path=path,
        answer=recipe,
        answer_path=path,
    )


def give_answers(requests: Sequence[Request], listener: Listener) -> list[Result]:
    """The results that the recipes amount to; each is written where that is asked for now."""
    folder = requests[0].folder
    when = datetime.fromtimestamp((folder / STUDY).stat().st_mtime)
    listener.said(f"measured on {when:%Y-%m-%d} in {folder}: --restart measures anew")
    return [_result(one) for one in requests]


def _result(request: Request) -> Result:
    from autotune.search.study import Result

    recipe, path = request.answer, request.answer_path
    assert recipe is not None
    assert path is not None
    pictures = request.folder / f"{path.stem}-pictures" / SHEET
    if request.recipe_path.resolve() != path.resolve():
        write_recipe(recipe, request.recipe_path, overwrite=request.overwrite)
        path = request.recipe_path
    return Result(
        status="ok",
        recipe=recipe,
        recipe_path=path,
        folder=request.folder,
        history=_history(recipe),
        needed=None,
        trials=recipe.evidence.trials,
        seconds=recipe.evidence.seconds,
        pictures=pictures if pictures.is_file() else None,
    )


def _history(recipe: Recipe) -> History:
    """No trials, but what the baseline was: reports say by what a recipe differs from it."""
    baseline = recipe.evidence.baseline
    choices = baseline.choices if baseline is not None else recipe.choices
    space = Space(levers={}, baseline=choices, left_out=())
    return History(space=space, budget_bytes=recipe.budget.bytes)
