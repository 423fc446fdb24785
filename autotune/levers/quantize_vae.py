"""quantize-vae: the number format of the VAE's Linears.

A VAE is made of convolutions, which stay as they are; its few Linears are those of attention.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autotune.levers.base import ModelView, Target
from autotune.levers.mechanisms.quantization import offer, prove, quantize, shrink, unpacking_s
from autotune.records import Choice, Device, Evidence, Model, Stage

name = "quantize-vae"
what = "number format of the VAE's weights"
stage = Stage.LOAD
start_up_s = unpacking_s


def choices(device: Device, view: ModelView | None) -> Sequence[Choice]:
    """Weights as stored, or one of the quantizers."""
    return offer(
        name,
        device,
        view,
        _parts(view.record) if view else (),
        library="diffusers",
        missing="the pipeline has no VAE",
    )


def apply(target: Target, choice: str) -> None:
    """Ask for the quantizer when the VAE is loaded."""
    quantize(target, _parts(target.model), choice)


def engaged(target: Target, choice: str) -> Evidence:
    """The Linears that were converted, counted by the classes of their weights."""
    return prove(target, _parts(target.model), choice)


def memory(model: Model, choice: str, resident: Mapping[str, int]) -> Mapping[str, int]:
    """Bytes of the VAE as if every weight were converted."""
    return shrink(_parts(model), model, choice, resident)


def _parts(model: Model) -> tuple[str, ...]:
    return ("vae",) if model.component("vae") else ()
