"""The functions behind ``import autotune``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from autotune.asked import Asked, make_requests
from autotune.errors import BadInput

if TYPE_CHECKING:
    from autotune.recipe.schema import Recipe
    from autotune.search.listener import Listener
    from autotune.search.side_by_side import SideBySide
    from autotune.search.study import Result
    from autotune.search.verify import Verified


def suggest(
    model: str,
    *,
    vram: str | None = None,
    device: str | None = None,
    trials: int | None = None,
    time: str | float | None = None,
    sampler: str = "shortlist",
    exhaustive: bool = False,
    record: str | Path | None = None,
    against: str | None = None,
    objective: str = "steady",
    effort: str = "standard",
    restart: bool = False,
    seed: int = 0,
    fix: Mapping[str, str] | None = None,
    space: str | None = None,
    quality: str = "balanced",
    weights: str = "real",
    ram: str | None = None,
    workload: Mapping[str, Any] | None = None,
    checkpoints: Mapping[str, str | Path] | None = None,
    out: str | Path | None = None,
    runs: str | Path = "autotune-runs",
    force: bool = False,
    book: str | Path | Literal[False] | None = None,
    add_to_book: bool = False,
    wait: bool = True,
    engine: Literal["local", "debug"] = "local",
    listener: Listener | None = None,
) -> Result:
    """Find the fastest setup of a model that fits the memory, by real generations.

    Args:
        model: An alias (``flux``), ``org/name`` or ``org/name@revision``, or a diffusers folder.
        vram: ``12GB``, ``12GiB``, ``80%`` or ``free-1GiB``; what is free now, less a margin, if
            left out.
        device: ``cuda``, ``cuda:1``, a UUID or ``cpu``; the accelerator with the most free memory
            if left out.
        trials: The most candidates to try.
        time: The most seconds to take, or text such as ``15m``.
        sampler: What proposes candidates: ``shortlist``, ``tpe``, ``gp``, ``random``, ``grid``, or
            ``module:Class`` of Optuna's kind.
        exhaustive: Try every candidate that may fit.
        record: Where to write what was measured as a recorded space.
        restart: Begin anew, although the same study was interrupted before its end.
        against: ``docs`` measures the winner beside what diffusers' documentation advises.
        objective: Which time counts: ``steady``, of an image once the process is warm; ``first``,
            of its first one, compiling included; or ``total:N``, of N images and loading.
        effort: How much is measured: ``quick``, ``standard`` or ``thorough``.
        seed: Same seed, same proposals for the same outcomes.
        fix: Levers that the search must leave at a choice: ``{"attention": "native"}``.
        space: A shipped search space by name, or a TOML file.
        quality: How much a setup may change the picture: ``exact``, ``close``, ``balanced`` or
            ``any``.
        weights: ``real``, or ``random``: those of a catalogue model at its published size, written
            to the cache on first use, so that speed and memory can be measured without a download.
        ram: Host memory a setup may take where the device is a card: ``32GB``, ``80%``.
        workload: What differs from the model's default workload: ``{"steps": 8}``.
        checkpoints: Files that may be tried in place of a component's own weights, by component:
            a GGUF file, a folder quantized with SVDQuant or AutoRound, a tiny VAE.
        out: The recipe's path; by default it lies in the run folder.
        runs: Where run folders are made.
        force: Replace files that are there already.
        book: A folder or URL of recipes of which the nearest are tried first; ``False`` for none.
            If left out, ``$AUTOTUNE_BOOK`` or the user's own book, if it is there.
        add_to_book: Put the recipe into that book, if it was confirmed.
        wait: Wait if another autotune holds the device; otherwise raise.
        engine: ``debug`` runs trials in this process, for breakpoints.
        listener: Is told what happens.

    Returns:
        How the study ended. ``result.recipe`` is ``None`` when nothing fits.

    Raises:
        AutotuneError: With a sentence and a hint; see ``autotune.errors``.
    """
    asked = Asked(
        vram=vram,
        device=device,
        trials=trials,
        time=time,
        sampler=sampler,
        exhaustive=exhaustive,
        record=record,
        against=against,
        objective=objective,
        effort=effort,
        restart=restart,
        seed=seed,
        fix=fix or {},
        space=space,
        quality=quality,
        weights=weights,
        ram=ram,
        workload=workload or {},
        checkpoints=checkpoints or {},
        out=out,
        runs=runs,
        force=force,
        book=book,
        add_to_book=add_to_book,
    )
    return _study(model, asked, (vram,), wait, engine, listener)[0]


def suggest_each(
    model: str,
    vram: Sequence[str],
    *,
    wait: bool = True,
    engine: Literal["local", "debug"] = "local",
    listener: Listener | None = None,
    **options: Any,
) -> list[Result]:
    """Answer several budgets with one study: a peak that was measured once serves them all.

    Args:
        model: As for ``suggest``.
        vram: The budgets: ``["8GB", "12GB", "24GB"]``.
        wait: As for ``suggest``, and so are the rest.
        engine: Where trials run.
        listener: Is told what happens.
        options: Everything else that ``suggest`` takes. With ``out`` the budget is put into the
            name of each recipe.

    Returns:
        How it ended for each budget, the largest first.

    Raises:
        AutotuneError: With a sentence and a hint.
    """
    if not vram:
        raise BadInput("there is no budget to answer", hint='vram=["8GB", "12GB"]')
    given = {name: value for name, value in options.items() if value is not None}
    return _study(model, Asked(**given), tuple(vram), wait, engine, listener)


def _study(
    model: str,
    asked: Asked,
    vrams: Sequence[str | None],
    wait: bool,
    engine: Literal["local", "debug"],
    listener: Listener | None,
) -> list[Result]:
    """Look, take what was answered before or run the study, and keep what is asked to be kept."""
    from autotune.bookkeeping import add_confirmed
    from autotune.measured import measure
    from autotune.search.answered import give_answers
    from autotune.search.listener import Silence

    listener = listener or Silence()
    listener.waiting("looking at the machine and the model")
    requests = make_requests(model, asked, vrams)
    if requests[0].answer is not None:
        results = give_answers(requests, listener)
    else:
        results = measure(requests, wait, engine, listener)
    if asked.add_to_book:
        add_confirmed(results, asked.book, listener)
    return results


def load_recipe(path: str | Path, *, accept_modified: bool = False) -> Recipe:
    """Read a recipe strictly; runs nothing and touches no other file.

    Raises:
        BadRecipe: If the file is not a recipe, or was changed.
    """
    from autotune.recipe.read import read_recipe

    return read_recipe(Path(path), accept_modified=accept_modified)


def build(
    recipe: Recipe | str | Path,
    *,
    model: str | None = None,
    device: str | None = None,
    checkpoints: Mapping[str, str | Path] | None = None,
    allow_mismatch: bool = False,
) -> Any:
    """Load the recipe's model with everything in it; returns a diffusers pipeline.

    Args:
        recipe: A recipe or its path.
        model: Where the model is; needed when the recipe was made from a local folder.
        device: As for ``suggest``.
        checkpoints: As for ``suggest``: where the files are that the recipe was measured with.
        allow_mismatch: Go on although machine or model differ from the recipe's.

    Raises:
        RecipeMismatch: If the recipe does not hold here, with both values.
    """
    from autotune.recipe.apply import build_recipe

    return build_recipe(
        _loaded(recipe),
        model=model,
        device=device,
        checkpoints=checkpoints or {},
        allow_mismatch=allow_mismatch,
    )


def verify(
    recipe: Recipe | str | Path,
    *,
    model: str | None = None,
    device: str | None = None,
    checkpoints: Mapping[str, str | Path] | None = None,
    out: str | Path | None = None,
    force: bool = False,
    max_regression: str = "5%",
    runs: str | Path = "autotune-runs",
    wait: bool = True,
    listener: Listener | None = None,
) -> Verified:
    """Measure a recipe again on this machine, in fresh processes, and say whether it holds.

    Args:
        recipe: A recipe or its path.
        model: As for ``build``, and so are device and checkpoints.
        device: Where to measure.
        checkpoints: Files that the recipe was measured with.
        out: Where to write the recipe with this machine's numbers, if it holds.
        force: Replace a file that exists.
        max_regression: How much slower than the slowest of its processes was still holds.
        runs: Where the folder of the trials is made.
        wait: Wait while another autotune holds the device.
        listener: Is told what happens.

    Raises:
        RecipeMismatch: If it cannot be measured here: the device is too small, or lacks a choice.
    """
    from autotune.again import verify_here
    from autotune.measured import start_engine
    from autotune.units import parse_percent

    within = parse_percent(max_regression)
    return verify_here(
        _loaded(recipe),
        model=model,
        device=device,
        checkpoints=checkpoints or {},
        out=None if out is None else Path(out),
        force=force,
        within=within,
        runs=runs,
        start=lambda request, told: start_engine("local", request, wait, told),
        listener=listener,
    )


def compare(
    first: Recipe | str | Path,
    second: Recipe | str | Path,
    *,
    model: str | None = None,
    device: str | None = None,
    checkpoints: Mapping[str, str | Path] | None = None,
    effort: str | None = None,
    runs: str | Path = "autotune-runs",
    wait: bool = True,
    listener: Listener | None = None,
) -> SideBySide:
    """Measure two recipes in turns, in fresh processes on this machine, and say which is faster.

    Each runs within its own budget. They have to be for the same model and workload.

    Args:
        first: A recipe or its path.
        second: What it is compared with.
        model: As for ``build``, and so are device and checkpoints.
        device: Where to measure.
        checkpoints: Files that the recipes were measured with.
        effort: How much is measured; by default as the more thorough of the two was.
        runs: Where the folder of the trials is made.
        wait: Wait while another autotune holds the device.
        listener: Is told what happens.

    Raises:
        BadInput: If they are for different models or workloads, or choose the same.
        RecipeMismatch: If one cannot be measured here.
    """
    from autotune.again import compare_here
    from autotune.measured import start_engine

    return compare_here(
        (_loaded(first), _loaded(second)),
        model=model,
        device=device,
        checkpoints=checkpoints or {},
        effort=effort,
        runs=runs,
        start=lambda request, told: start_engine("local", request, wait, told),
        listener=listener,
    )


def apply(
    pipe: Any,
    recipe: Recipe | str | Path,
    *,
    checkpoints: Mapping[str, str | Path] | None = None,
    allow_mismatch: bool = False,
) -> Any:
    """Apply a recipe to a pipeline that is loaded already; returns the same pipeline.

    Where the recipe was measured with files in place of a component's own weights, ``checkpoints``
    says which the pipeline was loaded from.

    Raises:
        RecipeMismatch: If the recipe does not hold here, or needs what only loading can set.
    """
    from autotune.recipe.apply import apply_recipe

    return apply_recipe(
        pipe, _loaded(recipe), checkpoints=checkpoints or {}, allow_mismatch=allow_mismatch
    )


def _loaded(recipe: Recipe | str | Path) -> Recipe:
    return load_recipe(recipe) if isinstance(recipe, (str, Path)) else recipe
