"""channels-last: the memory layout of convolution weights (NHWC), for UNets and 2-D VAEs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autotune.levers.base import ChoiceMaker, ModelView, Target
from autotune.records import Choice, Device, Evidence, Stage

name = "channels-last"
what = "memory layout of convolutions"
stage = Stage.BUILD

_PARTS = {
    "off": (),
    "vae": ("vae",),
    "denoiser": ("denoiser",),
    "denoiser+vae": ("denoiser", "vae"),
}


def choices(device: Device, view: ModelView | None) -> Sequence[Choice]:
    """The components that have two-dimensional convolutions can be laid out so."""
    choice = ChoiceMaker(lever=name)
    problem = {part: _problem(view, part) for part in ("denoiser", "vae")} if view else {}
    return (
        choice("off", "as stored", baseline=True),
        choice("vae", "the VAE", unless=problem.get("vae")),
        choice("denoiser", "the UNet or transformer", unless=problem.get("denoiser")),
        choice(
            "denoiser+vae",
            "both",
            unless=problem.get("denoiser") or problem.get("vae"),
        ),
    )


def apply(target: Target, choice: str) -> None:
    """Lay out the chosen components, and the others as usual."""
    import torch

    for part in ("denoiser", "vae"):
        module = getattr(target, part)
        if module is not None:
            chosen = part in _PARTS[choice]
            module.to(memory_format=torch.channels_last if chosen else torch.contiguous_format)


def engaged(target: Target, choice: str) -> Evidence:
    """Count the convolution weights that lie channels-last."""
    if choice == "off":
        return Evidence(engaged=True, detail="layout as stored")
    found = {part: _laid_out(getattr(target, part)) for part in _PARTS[choice]}
    detail = ", ".join(f"{part}: {done} of {of} weights" for part, (done, of) in found.items())
    return Evidence(engaged=all(done > 0 for done, _ in found.values()), detail=detail)


def _problem(view: ModelView, part: str) -> str | None:
    component = view.record.denoiser if part == "denoiser" else part
    module = view.module(component)
    if module is None:
        return f"the pipeline has no {part}"
    if not any(_can_differ(parameter) for parameter in module.parameters()):
        return f"{type(module).__name__} has no two-dimensional convolution"
    return None


def _can_differ(parameter: Any) -> bool:
    """Layouts differ only with more than one channel and more than one pixel."""
    shape = tuple(int(side) for side in parameter.shape)
    return len(shape) == 4 and shape[1] > 1 and shape[2] * shape[3] > 1


def _laid_out(module: Any) -> tuple[int, int]:
    import torch

    able = [parameter for parameter in module.parameters() if _can_differ(parameter)]
    done = [p for p in able if p.is_contiguous(memory_format=torch.channels_last)]
    return len(done), len(able)
