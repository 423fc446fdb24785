"""The functions behind ``import autotune``."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from autotune.errors import BadInput, shorten
from autotune.records import Device, Fidelity, Host, Model
from autotune.units import (
    DURATION_FORMS,
    LONGEST_S,
    default_budget,
    format_bytes,
    parse_budget,
    parse_duration,
)

if TYPE_CHECKING:
    from autotune.recipe.schema import Recipe
    from autotune.search.definition import Definition
    from autotune.search.listener import Listener
    from autotune.search.request import Request
    from autotune.search.study import Result

#: A budget this near to the whole device is not an emulation of a smaller one.
_WHOLE_DEVICE = 0.95
#: Studies of one model and budget are numbered; nobody keeps more than that in one folder.
_MOST_RUNS = 10_000
#: What numpy, which the sampler draws from, takes as a seed.
_LARGEST_SEED = 2**32 - 1


def suggest(
    model: str,
    *,
    vram: str | None = None,
    device: str | None = None,
    trials: int | None = None,
    time: str | float | None = None,
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
        force: Replace an existing recipe.
        wait: Wait if another autotune holds the device; otherwise raise.
        engine: ``debug`` runs trials in this process, for breakpoints.
        listener: Is told what happens.

    Returns:
        How the study ended. ``result.recipe`` is ``None`` when nothing fits.

    Raises:
        AutotuneError: With a sentence and a hint; see ``autotune.errors``.
    """
    from autotune.search.listener import Silence

    listener = listener or Silence()
    listener.waiting("looking at the machine and the model")
    asked = Asked(
        vram=vram,
        device=device,
        trials=trials,
        time=time,
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
    )
    request = make_request(model, asked)
    from autotune.search.study import run_study  # with Optuna: not for a request that is refused

    try:
        listener.waiting("importing torch and diffusers, once a study")
        running = _start_engine(engine, request, wait, listener)
        try:
            if running.waited:
                request = _look_again(request, vram)
            return run_study(request, running, listener)
        finally:
            running.close()
    except BadInput:
        # Found out only where torch is imported, and before the first trial: leave no trace.
        if not (request.folder / "trials").exists():
            shutil.rmtree(request.folder, ignore_errors=True)
        raise


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


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a study is asked for, as ``suggest`` takes it."""

    vram: str | None = None
    device: str | None = None
    trials: int | None = None
    time: str | float | None = None
    seed: int = 0
    fix: Mapping[str, str] = field(default_factory=dict)
    space: str | None = None
    quality: str = "balanced"
    weights: str = "real"
    ram: str | None = None
    workload: Mapping[str, Any] = field(default_factory=dict)
    checkpoints: Mapping[str, str | Path] = field(default_factory=dict)
    out: str | Path | None = None
    runs: str | Path = "autotune-runs"
    force: bool = False


def make_request(model: str, asked: Asked) -> Request:
    """Check everything a study is asked for, before the first trial (C13).

    Raises:
        BadInput: Naming the value that cannot be used.
    """
    from autotune.files import check_writable
    from autotune.models.given import give, look_at
    from autotune.models.resolve import resolve
    from autotune.probe import probe_machine
    from autotune.probe.device import select_device
    from autotune.probe.fingerprint import fingerprint
    from autotune.search.request import DEFAULT_TRIALS, Request

    # Cheap checks first: nothing is probed or downloaded for a typing error.
    wanted = parse_budget(asked.vram) if asked.vram is not None else None
    wanted_ram = parse_budget(asked.ram) if asked.ram is not None else None
    fidelity = _fidelity(asked.quality)
    random = _random(asked.weights)
    time_s = parse_duration(asked.time) if isinstance(asked.time, str) else asked.time
    trials = DEFAULT_TRIALS if asked.trials is None else asked.trials
    _check_numbers(trials, time_s, asked.seed)
    if asked.out is not None:
        check_writable(Path(asked.out), overwrite=asked.force)
    looked = look_at(asked.checkpoints)
    machine = probe_machine()
    chosen = select_device(machine, asked.device)
    budget = _budget(wanted, chosen)
    ram_bytes = _ram(wanted_ram, chosen, machine.host)
    pins = dict(asked.fix)
    _check_names(pins, asked.space, None, chosen)  # before a download, which may take an hour
    resolved = resolve(_skeleton(model) if random else model)
    resolved = give(resolved.but(workload=_workload(resolved, asked.workload)), looked)
    definition = _check_names(pins, asked.space, resolved.family, chosen)
    folder = _run_folder(Path(asked.runs), resolved, chosen, budget)
    return Request(
        model=resolved,
        machine=machine,
        device=chosen,
        fingerprint=fingerprint(machine, chosen),
        budget_asked=asked.vram or _in_words(budget),
        budget_bytes=budget,
        emulated=wanted is not None and budget < chosen.total_bytes * _WHOLE_DEVICE,
        definition=definition,
        quality=fidelity,
        ram_bytes=ram_bytes,
        pins=pins,
        trials=trials,
        time_s=time_s,
        seed=asked.seed,
        folder=folder,
        recipe_path=Path(asked.out) if asked.out is not None else folder / "recipe.json",
        overwrite=asked.force,
    )


def _look_again(request: Request, vram: str | None) -> Request:
    """Take the budget from what is free now, after another study let go of the device."""
    from autotune.probe import probe_machine
    from autotune.probe.device import select_device

    device = select_device(probe_machine(), request.device.uuid)
    budget = _budget(parse_budget(vram) if vram is not None else None, device)
    asked = vram or _in_words(budget)
    return replace(request, device=device, budget_asked=asked, budget_bytes=budget)


def _in_words(budget: int) -> str:
    return f"{format_bytes(budget)}, what is free"


def _check_names(
    pins: Mapping[str, str], space: str | None, family: str | None, device: Device
) -> Definition:
    """Refuse unknown levers and choices now; what the model says to them is known later."""
    from autotune.levers import offered_choices
    from autotune.search.definition import load_definition
    from autotune.search.space import build_space

    definition = load_definition(family, space)
    choices = [one for found in offered_choices(device, None).values() for one in found]
    build_space(choices, definition, pins)
    return definition


def _check_numbers(trials: int, time_s: float | None, seed: int) -> None:
    if trials < 1:
        raise BadInput(f"{trials} trials are none", hint="--trials 12")
    if time_s is not None and not 0 < time_s <= LONGEST_S:
        raise BadInput(f"a time of {time_s} seconds cannot be used", hint=DURATION_FORMS)
    if not 0 <= seed <= _LARGEST_SEED:
        raise BadInput(f"the seed cannot be {seed}", hint=f"0 to {_LARGEST_SEED}")


def _start_engine(
    engine: Literal["local", "debug"], request: Request, wait: bool, listener: Listener
) -> Any:
    if engine == "debug":
        from autotune.engine.debug import DebugEngine

        return DebugEngine()
    from autotune.engine.local import LocalEngine

    return LocalEngine(
        device=request.device,
        pipeline=request.model.pipeline,
        folder=request.folder,
        wait=wait,
        say=listener.said,
    )


def _budget(wanted: Any, device: Device) -> int:
    if wanted is None:
        return default_budget(device.free_bytes)
    return int(wanted.resolve(device.total_bytes, device.free_bytes))


def _ram(wanted: Any, device: Device, host: Host) -> int | None:
    if wanted is None:
        return None
    if device.kind in ("cpu", "mps"):
        raise BadInput(
            f"--ram is for a card; on {device.kind} the device is the host itself",
            hint="say with --vram how much memory a setup may take",
        )
    total = host.ram_limit_bytes or host.ram_total_bytes
    return int(wanted.resolve(total, host.ram_available_bytes))


def _random(weights: str) -> bool:
    if weights not in ("real", "random"):
        raise BadInput(f"weights cannot be {shorten(weights)}", hint="real or random")
    return weights == "random"


def _skeleton(model: str) -> str:
    from autotune.models.skeleton.make import cached_skeleton

    return model if model == "demo" else str(cached_skeleton(model))


def _fidelity(quality: str) -> Fidelity:
    try:
        return Fidelity(quality)
    except ValueError:
        listed = ", ".join(f"{one} ({one.sentence})" for one in Fidelity)
        raise BadInput(f"there is no quality {shorten(quality)}", hint=listed) from None


def _workload(model: Model, changes: Mapping[str, Any]) -> Any:
    from autotune.models.bounds import check_workload

    given = {name: value for name, value in changes.items() if value is not None}
    return check_workload(model, given)


def _run_folder(runs: Path, model: Model, device: Device, budget: int) -> Path:
    """A new folder for this study; earlier ones are left alone."""
    name = f"{model.id.rsplit('/', 1)[-1]}-{format_bytes(budget).replace(' ', '')}-{device.kind}"
    for number in range(1, _MOST_RUNS):
        folder = runs / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if runs.exists() and not runs.is_dir():
                raise BadInput(f"{runs} is a file, not a folder", hint="--runs FOLDER") from None
            continue
        except OSError as error:
            raise BadInput(
                f"no run folder can be made in {runs}: {error.strerror}", hint="--runs FOLDER"
            ) from None
        return folder
    raise BadInput(f"{runs} holds {_MOST_RUNS} runs of {name}", hint="--runs FOLDER")


def _loaded(recipe: Recipe | str | Path) -> Recipe:
    return load_recipe(recipe) if isinstance(recipe, (str, Path)) else recipe
