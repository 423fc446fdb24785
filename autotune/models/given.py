"""What the user gives in place of a component's own weights: looked at, never loaded.

A GGUF file, a folder that SVDQuant or AutoRound quantized, the fp8 and nvfp4 files of Black Forest
Labs, and a tiny VAE can only be had as files; what else there is, autotune makes itself. A recipe
recognises them by a digest: nothing in it says where they lie.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

from autotune.errors import BadInput, shorten
from autotune.models.index import read_config
from autotune.models.look import Found, Kind, latents, look
from autotune.records import Given, Model

#: What can stand for the component that is denoised with, whatever the model calls it.
DENOISER = "denoiser"
#: The VAE whose latents a tiny one decodes.
TINY_FOR = "AutoencoderKL"
#: By choice: the kind of file it is made of.
_NEEDS: Mapping[tuple[str, str], Kind] = {
    ("checkpoint", "gguf"): "gguf",
    ("checkpoint", "svdquant"): "svdquant",
    ("checkpoint", "bfl"): "bfl",
    ("checkpoint", "auto-round"): "auto-round",
    ("vae-model", "tiny"): "tiny-vae",
}
#: Conversions rename, split and leave out position tables; a file of another model differs more.
_SAME_SIZE = 0.1


def kinds_needed(choices: Mapping[str, str]) -> set[Kind]:
    """The kinds of file that the choices are made of."""
    return {_NEEDS[pair] for pair in choices.items() if pair in _NEEDS}


def parse_checkpoints(texts: Sequence[str]) -> dict[str, str]:
    """Read ``component=path`` arguments.

    Raises:
        BadInput: If one is not of that form, or a component is named twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        component, sign, path = text.partition("=")
        if not (sign and component and path):
            raise BadInput(
                f"{shorten(text)} names no component and path",
                hint="--checkpoint denoiser=FILE.gguf",
            )
        if found.get(component, path) != path:
            raise BadInput(
                f"two checkpoints are given for {shorten(component)}", hint="leave one of them out"
            )
        found[component] = path
    return found


def look_at(checkpoints: Mapping[str, str | Path]) -> dict[str, Found]:
    """Look at each path; see `look`."""
    return {component: look(path) for component, path in checkpoints.items()}


def give(model: Model, found: Mapping[str, Found]) -> Model:
    """The model with what was found given to its components.

    Raises:
        BadInput: If there is no such component, or it cannot take what was found.
    """
    given = name_components(model, found)
    for one in found.items():
        _check_fit(model, *one)
    return model.but(given=given) if given else model


def name_components(model: Model, found: Mapping[str, Found]) -> tuple[Given, ...]:
    """What was found, by the model's components, whether or not it fits them.

    Raises:
        BadInput: If there is no such component, or two were found for one.
    """
    given: dict[str, Given] = {}
    for name, one in found.items():
        component = _component(model, name)
        if component in given:
            raise BadInput(
                f"two checkpoints are given for {component}", hint="leave one of them out"
            )
        given[component] = Given(
            component=component,
            kind=one.kind,
            path=str(one.path),
            digest=one.digest,
            weight_bytes=one.weight_bytes,
            formats=one.formats,
        )
    return tuple(given[component] for component in sorted(given))


def _component(model: Model, name: str) -> str:
    if name == DENOISER:
        return model.denoiser
    if model.component(name) is not None:
        return name
    known = [DENOISER, *(part.name for part in model.components if part.weight_bytes)]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(known)}"
    raise BadInput(f"{model.id} has no component {shorten(name)}", hint=hint)


def _check_fit(model: Model, named: str, found: Found) -> None:
    component = _component(model, named)
    takes = ("vae",) if found.kind == "tiny-vae" else model.denoisers
    name = shorten(found.path.name)
    if component not in takes:
        raise BadInput(
            f"{name} ({found.kind}) cannot stand for {component}",
            hint=f"it can be given for {' or '.join(takes)}",
        )
    part = model.component(component)
    assert part is not None
    if found.kind == "tiny-vae":
        _check_latents(model, part.class_name, found)
    elif found.class_name is not None and found.class_name != part.class_name:
        raise BadInput(
            f"{name} is of class {shorten(found.class_name)}, {component} of {part.class_name}",
            hint="give a checkpoint of this model",
        )
    elif found.kind == "gguf" and _differ(found.numbers, part.parameters):
        raise BadInput(
            f"{name} holds {found.numbers} numbers, {component} of {model.id} has "
            f"{part.parameters}",
            hint="give a checkpoint of this model",
        )


def _differ(numbers: int, parameters: int) -> bool:
    return abs(numbers - parameters) > parameters * _SAME_SIZE


def _check_latents(model: Model, class_name: str, found: Found) -> None:
    name = shorten(found.path.name)
    if class_name != TINY_FOR:
        raise BadInput(
            f"{name} decodes for {TINY_FOR}, the VAE of {model.id} is of class {class_name}",
            hint="leave it out",
        )
    own = latents(read_config(Path(model.folder, "vae", "config.json"), what="the VAE's config"))
    for what, here, theirs in (
        ("latent channels", own["latent_channels"], found.latent_channels),
        ("pixels a latent pixel", own["scale"], found.scale),
    ):
        if here != theirs:
            raise BadInput(
                f"{name} has {theirs} {what}, the VAE of {model.id} has {here}",
                hint="give the tiny VAE that was made for this model",
            )
