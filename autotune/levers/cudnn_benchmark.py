"""cudnn-benchmark: cuDNN tries its convolution algorithms at the first call of each shape.

It holds for the process. Every new size is tried again, so it suits a fixed one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autotune.levers.base import ChoiceMaker, ModelView, Target
from autotune.levers.script import Script
from autotune.records import Choice, Device, Evidence, Stage

name = "cudnn-benchmark"
what = "try cuDNN's convolution algorithms, keep the fastest"
# Not while loading: it can be set on a pipeline that is loaded.
stage = Stage.BUILD

#: Each shape costs some runs of each algorithm: tens of shapes in a VAE, a second each at most.
_TRYING_S = 20.0


def choices(device: Device, view: ModelView | None) -> Sequence[Choice]:
    """Off, or on where there are convolutions that cuDNN computes."""
    choice = ChoiceMaker(lever=name)
    elsewhere = None if device.kind == "cuda" else f"needs cuDNN, this is {device.kind}"
    return (
        choice("off", "cuDNN's own guess", baseline=True),
        choice(
            "on",
            "the fastest, found at the first call",
            unless=elsewhere or (_problem(view) if view else None),
        ),
    )


def apply(target: Target, choice: str) -> None:
    """Set it for the process."""
    import torch

    torch.backends.cudnn.benchmark = choice == "on"


def engaged(target: Target, choice: str) -> Evidence:
    """The setting stands, and there are convolutions that cuDNN computes."""
    import torch

    stands = bool(torch.backends.cudnn.benchmark)
    if choice == "off":
        return Evidence(engaged=not stands, detail="cuDNN guesses")
    cudnn = torch.backends.cudnn
    there = target.device.kind == "cuda" and bool(cudnn.is_available() and cudnn.enabled)
    parts = [*target.denoisers.values(), *([target.vae] if target.vae is not None else [])]
    found = sum(len(_convolutions(part)) for part in parts)
    return Evidence(
        engaged=stands and there and found > 0,
        detail=f"{found} convolutions, cuDNN {'computes them' if there else 'is not there'}",
    )


def code(script: Script, choice: str) -> Script:
    """A setting of torch's, off at the start of a process."""
    return script.then("torch.backends.cudnn.benchmark = True") if choice == "on" else script


def start_up_s(choice: str) -> float:
    """What trying adds to the first call."""
    return _TRYING_S if choice == "on" else 0.0


def _problem(view: ModelView) -> str | None:
    parts = [view.module(part) for part in (*view.record.denoisers, "vae")]
    if any(_convolutions(part) for part in parts if part is not None):
        return None
    return "neither denoiser nor VAE has a convolution"


def _convolutions(module: Any) -> list[Any]:
    import torch

    kinds = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
    return [part for part in module.modules() if isinstance(part, kinds)]
