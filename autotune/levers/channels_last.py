"""channels-last: the memory layout of convolution weights (NHWC), for UNets and 2-D VAEs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from autotune.levers.base import ChoiceMaker, ModelView, Target
from autotune.levers.script import Name, Script, call
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


def code(script: Script, choice: str) -> Script:
    """Where the chosen components lie."""
    parts = {"denoiser": script.denoiser, "vae": "pipe.vae"}
    layout = Name("torch.channels_last")
    return script.then(*(call(f"{parts[one]}.to", memory_format=layout) for one in _PARTS[choice]))


def _problem(view: ModelView, part: str) -> str | None:
    component = view.record.denoiser if part == "denoiser" else part
    module = view.module(component)
    if module is None:
        return f"the pipeline has no {part}"
    if any(weight.dim() == 5 for weight in module.parameters()):
        return f"{type(module).__name__} has three-dimensional convolutions"
    if not any(True for _ in _able(module)):
        return f"{type(module).__name__} has no two-dimensional convolution"
    return None


def _able(module: Any) -> Iterator[Any]:
    """The convolution weights whose layout can make a difference.

    Not those with one channel or one pixel, which lie the same both ways, and not the patch
    embedding of a transformer, whose kernel is its stride: that is a matrix product (A8).
    """
    import torch

    for part in module.modules():
        if not isinstance(part, torch.nn.Conv2d) or part.kernel_size == part.stride:
            continue
        if part.weight.shape[1] > 1:
            yield part.weight


def _laid_out(module: Any) -> tuple[int, int]:
    import torch

    able = list(_able(module))
    done = [weight for weight in able if weight.is_contiguous(memory_format=torch.channels_last)]
    return len(done), len(able)
