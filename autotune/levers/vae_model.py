"""vae-model: decode with a tiny VAE (TAESD) in place of the model's own.

It knows the same latents, decodes them in a fraction of time and memory, and draws fine detail
differently. Its weights are not part of any model: the user names its folder with ``--checkpoint``
(levers.md A6). diffusers has one class of them, for the latents of AutoencoderKL.
"""

from __future__ import annotations

from collections.abc import Sequence

from autotune.levers.base import ChoiceMaker, ModelView, Target
from autotune.levers.plan import Plan
from autotune.levers.script import Script, Untold, call
from autotune.records import Choice, Device, Evidence, Fidelity, Stage

name = "vae-model"
what = "which VAE decodes the picture"
stage = Stage.LOAD

_KIND = "tiny-vae"
_TINY, _REPLACED = "AutoencoderTiny", "AutoencoderKL"
_MISSING = "no tiny VAE was given (--checkpoint vae=FOLDER)"


def choices(device: Device, view: ModelView | None) -> Sequence[Choice]:
    """The model's own VAE, or a tiny one."""
    choice = ChoiceMaker(lever=name)
    return (
        choice("own", "the model's own VAE", baseline=True),
        choice(
            "tiny",
            "a tiny VAE that was given (TAESD)",
            unless=_problem(view) if view else None,
            fidelity=Fidelity.ANY,
        ),
    )


def apply(target: Target, choice: str) -> None:
    """Load the tiny VAE, and hand it to the pipeline's ``from_pretrained``."""
    if choice == "own":
        return
    import diffusers
    import torch

    given = target.model.given_as(_KIND)
    if not given:
        raise ValueError(_MISSING)
    for one in given:
        target.load_arguments[one.component] = diffusers.AutoencoderTiny.from_pretrained(
            one.path,
            dtype=target.load_arguments.get("dtype", torch.float32),
            local_files_only=True,
            use_safetensors=True,
        )


def engaged(target: Target, choice: str) -> Evidence:
    """The class of the pipeline's VAE."""
    if target.vae is None:
        return Evidence(engaged=choice == "own", detail="the pipeline has no VAE")
    kind = type(target.vae).__name__
    own = target.model.component("vae") if target.model.folder else None
    tiny = kind == _TINY and (own is None or own.class_name != _TINY)
    return Evidence(engaged=tiny is (choice == "tiny"), detail=f"the VAE is of class {kind}")


def code(script: Script, choice: str) -> Script:
    """The tiny VAE in the place of the VAE.

    Raises:
        Untold: If it is not known where it lies.
    """
    if choice == "own":
        return script
    given = script.model.given_as(_KIND)
    if not given:
        raise Untold(f"it is not known where it lies: {_MISSING}")
    (part,) = given
    tiny = call(
        f"diffusers.{_TINY}.from_pretrained", part.path, dtype=script.dtype, use_safetensors=True
    )
    return script.loading(**{part.component: tiny})


def plan(plan: Plan, choice: str) -> Plan:
    """The tiny VAE in place of the VAE."""
    for one in plan.model.given_as(_KIND) if choice == "tiny" else ():
        plan = plan.with_parts([one.component], file_bytes=one.weight_bytes)
    return plan


def _problem(view: ModelView) -> str | None:
    own = view.record.component("vae")
    if own is None:
        return "the pipeline has no VAE"
    if own.class_name == _TINY:
        return "the model's own VAE is a tiny one already"
    if own.class_name != _REPLACED:
        return f"a tiny VAE decodes the latents of {_REPLACED}, not those of {own.class_name}"
    return None if view.record.given_as(_KIND) else _MISSING
