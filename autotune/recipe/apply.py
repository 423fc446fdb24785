"""Turn a recipe into a pipeline: load one with everything in it, or set up one that is loaded."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autotune.errors import AutotuneError, RecipeMismatch, one_line
from autotune.levers import load_levers, offered_choices
from autotune.levers.base import Lever, Target
from autotune.levers.rules import broken_rule
from autotune.models.catalog import find_pipeline
from autotune.models.given import give, kinds_needed, look_at, name_components
from autotune.models.look import Found
from autotune.models.resolve import resolve
from autotune.models.structure import Structure
from autotune.probe import probe_machine
from autotune.probe.device import select_device
from autotune.probe.fingerprint import fingerprint
from autotune.probe.software import probe_software
from autotune.recipe.check import check_choices, check_recipe
from autotune.recipe.schema import Recipe, RecipeGiven
from autotune.records import Choice, Component, Device, Given, Model, Stage
from autotune.trial.generate import build_pipeline
from autotune.trial.weights import stored_bytes

_ALLOW = "pass allow_mismatch=True to go on all the same, or run autotune suggest here"


def build_recipe(
    recipe: Recipe,
    *,
    model: str | None,
    device: str | None,
    checkpoints: Mapping[str, str | Path],
    allow_mismatch: bool,
) -> Any:
    """Load the recipe's model and apply every choice; see ``autotune.build``."""
    looked = look_at(checkpoints)  # a typing error costs no look at the machine
    chosen = _checked_device(recipe, device, allow_mismatch)
    target = target_of(recipe, chosen, model=model, looked=looked, allow_mismatch=allow_mismatch)
    build_pipeline(target, recipe.choices)
    return target.pipe


def target_of(
    recipe: Recipe,
    device: Device,
    *,
    model: str | None,
    looked: Mapping[str, Found],
    allow_mismatch: bool = False,
) -> Target:
    """The recipe's model, with what its choices are made of, on a device that has them.

    Raises:
        RecipeMismatch: If the model, a given file or a choice is not what was measured.
    """
    found = model_of(recipe, model=model, looked=looked, allow_mismatch=allow_mismatch)
    check_offered(recipe, offered_choices(device, Structure(found, recipe.workload)))
    check_rules(recipe, device, found.family)
    return Target(model=found, device=device, workload=recipe.workload)


def model_of(
    recipe: Recipe,
    *,
    model: str | None,
    looked: Mapping[str, Found],
    allow_mismatch: bool = False,
) -> Model:
    """The recipe's model with its workload and the files that stand for some of its weights.

    Raises:
        RecipeMismatch: If the model or a given file is not what was measured.
    """
    found = _find_model(recipe, model, allow_mismatch)
    found = give(found.but(workload=recipe.workload), looked)
    check_given(recipe, found.given, allow_mismatch)
    return found


def apply_recipe(
    pipe: Any, recipe: Recipe, *, checkpoints: Mapping[str, str | Path], allow_mismatch: bool
) -> Any:
    """Apply what can be set on a loaded pipeline; see ``autotune.apply``."""
    looked = look_at(checkpoints)
    kind = type(pipe).__name__
    if kind != recipe.model.pipeline and not allow_mismatch:
        raise RecipeMismatch(
            f"the recipe is for {recipe.model.pipeline}, this is {kind}", hint=_ALLOW
        )
    chosen = _checked_device(recipe, _device_of(pipe), allow_mismatch)
    model = _describe(pipe, recipe)
    model = model.but(given=name_components(model, looked))
    check_given(recipe, model.given, allow_mismatch)
    target = Target(model=model, device=chosen, workload=recipe.workload, pipe=pipe)
    levers = [
        (lever, recipe.choices[name])
        for name, lever in load_levers().items()
        if name in recipe.choices
    ]
    check_choices(recipe.choices, _every_choice(chosen))
    check_rules(recipe, chosen, model.family)
    for lever, choice in levers:
        if lever.stage is not Stage.LOAD:
            continue
        evidence = lever.engaged(target, choice)
        if not evidence.engaged:
            raise RecipeMismatch(
                f"{lever.name}={choice} can only be set while loading, and this pipeline was "
                f"loaded without it ({evidence.detail})",
                hint="autotune.build(recipe) loads the pipeline with it",
            )
    for lever, choice in levers:
        if lever.stage is not Stage.LOAD:
            _set(target, lever, choice)
    return pipe


def _set(target: Target, lever: Lever, choice: str) -> None:
    try:
        lever.apply(target, choice)
    except AutotuneError as error:
        raise RecipeMismatch(
            f"{lever.name}={choice} cannot be set on this pipeline: {error.message}",
            hint=error.hint,
        ) from error
    except Exception as error:
        raise RecipeMismatch(
            f"{lever.name}={choice} cannot be set on this pipeline: "
            f"{type(error).__name__}: {one_line(str(error))}",
            hint="autotune suggest finds a setup for this pipeline's model",
        ) from error


def _checked_device(recipe: Recipe, wanted: str | None, allow_mismatch: bool) -> Device:
    machine = probe_machine()
    device = select_device(machine, wanted)
    check = check_recipe(recipe, machine, device, fingerprint(machine, device))
    refused = check.match == "far" and not allow_mismatch
    sentences = [
        f"{one.field} was {one.recorded}, here it is {one.here}"
        for one in check.differences
        if one.severity == "far" or not refused
    ]
    sentences += check.problems
    if refused:
        raise RecipeMismatch(
            f"the recipe does not hold on this machine: {'; '.join(sentences)}", hint=_ALLOW
        )
    if check.match != "exact":
        warnings.warn(f"the recipe was measured elsewhere: {'; '.join(sentences)}", stacklevel=4)
    return device


def _find_model(recipe: Recipe, given: str | None, allow_mismatch: bool) -> Model:
    """The model the caller names, or the recipe's own if it is already on this machine (R5)."""
    if given is not None:
        model = resolve(given)
    elif recipe.model.source == "folder":
        raise RecipeMismatch(
            f"the recipe was made from a local folder, {recipe.model.id}",
            hint="say where it is: --model FOLDER, or model= in Python",
        )
    elif recipe.model.source == "demo":
        model = resolve("demo")
    else:
        model = resolve(f"{recipe.model.id}@{recipe.model.revision}", allow_download=False)
    if model.revision != recipe.model.revision and not allow_mismatch:
        raise RecipeMismatch(
            f"the recipe is for {recipe.model.id} at {recipe.model.revision}, "
            f"this is {model.id} at {model.revision}",
            hint=_ALLOW,
        )
    return model


def check_given(recipe: Recipe, given: Sequence[Given], allow_mismatch: bool) -> None:
    """The files that choices are made of must be those that were measured."""
    kinds = kinds_needed(recipe.choices)
    measured = {one.component: one for one in recipe.model.given if one.kind in kinds}
    here = {one.component: one for one in given if one.kind in kinds}
    sentences = [
        f"for {name} it was {_content(measured.get(name))}, here it is {_content(here.get(name))}"
        for name in sorted({*measured, *here})
        if _content(measured.get(name)) != _content(here.get(name))
    ]
    if kinds - {one.kind for one in recipe.model.given}:
        sentences.append("it does not say which")
    if sentences and not allow_mismatch:
        raise RecipeMismatch(
            f"the recipe chooses a checkpoint that somebody gave: {'; '.join(sentences)}",
            hint='checkpoints={"denoiser": PATH} names the same one; ' + _ALLOW,
        )


def _content(one: Given | RecipeGiven | None) -> str:
    return f"{one.kind} {one.digest}" if one else "none"


def check_offered(recipe: Recipe, found: Mapping[str, Sequence[Choice]]) -> None:
    """Every choice must exist in this installation and be available here (R4).

    Args:
        recipe: What was chosen.
        found: The choices that each lever offers here.

    Raises:
        RecipeMismatch: If one cannot be had.
    """
    offered = {name: {one.id: one for one in choices} for name, choices in found.items()}
    check_choices(recipe.choices, offered)
    for lever, id in recipe.choices.items():
        reason = offered[lever][id].unavailable
        if reason is not None:
            raise RecipeMismatch(
                f"{lever}={id} cannot be set here: {reason}",
                hint="autotune suggest finds a setup for this machine",
            )


def check_rules(recipe: Recipe, device: Device, family: str | None) -> None:
    """Today's rules may know of a combination what the recipe's writer did not.

    Raises:
        RecipeMismatch: If one excludes it.
    """
    rule = broken_rule(
        recipe.choices, device=device.kind, family=family, software=probe_software()
    )
    if rule is not None:
        named = " with ".join(f"{lever}={recipe.choices[lever]}" for lever in rule.choices)
        raise RecipeMismatch(
            f"the recipe chooses {named}, which does not work: {rule.reason} ({rule.cite})",
            hint="autotune suggest finds a setup that does",
        )


def _every_choice(device: Device) -> dict[str, set[str]]:
    return {
        name: {choice.id for choice in choices}
        for name, choices in offered_choices(device, None).items()
    }


def _device_of(pipe: Any) -> str:
    """Where the pipeline computes, by UUID: torch and the driver may count cards differently."""
    device = pipe._execution_device  # of an offloaded pipeline, `.device` is "meta" or "cpu"
    if device.type == "cuda":
        import torch

        uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
        if uuid is not None and torch.version.hip is None:
            return f"GPU-{uuid}"
    return str(device.type)


def _describe(pipe: Any, recipe: Recipe) -> Model:
    """The user's pipeline as a model record: what levers need of it, nothing on disk."""
    components = tuple(
        Component(
            name=name,
            library=type(part).__module__.split(".")[0],
            class_name=kind,
            weight_bytes=stored_bytes(part) if hasattr(part, "named_parameters") else 0,
        )
        for name, part in pipe.components.items()
        if part is not None and (kind := type(part).__name__)
    )
    names = {part.name for part in components}
    denoiser = next((name for name in ("transformer", "unet", "prior") if name in names), None)
    if denoiser is None:
        raise RecipeMismatch(
            f"{type(pipe).__name__} has no transformer and no unet to set up",
            hint="pass a pipeline that diffusers loaded",
        )
    known = find_pipeline(type(pipe).__name__)
    return Model(
        id=recipe.model.id,
        revision=recipe.model.revision,
        source=recipe.model.source,
        folder="",
        pipeline=type(pipe).__name__,
        family=known.family if known else None,
        weights=recipe.model.weights,
        denoiser=denoiser,
        components=components,
        workload=recipe.workload,
    )
