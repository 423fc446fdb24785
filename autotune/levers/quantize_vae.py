"""quantize-vae: the number format of the VAE's Linears.

A VAE is made of convolutions, which stay as they are; its few Linears are those of attention.
"""

from __future__ import annotations

from collections.abc import Sequence

from autotune.levers.base import ModelView, Target
from autotune.levers.mechanisms.quantization import NONE, offer, prove, quantize, tell, unpacking_s
from autotune.levers.plan import Plan
from autotune.levers.script import Script
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


def code(script: Script, choice: str) -> Script:
    """A configuration, by component."""
    return tell(script, _parts(script.model), choice)


def plan(plan: Plan, choice: str) -> Plan:
    """Packed Linears."""
    return plan if choice == NONE else plan.with_parts(["vae"], quantizer=choice)


def _parts(model: Model) -> tuple[str, ...]:
    return ("vae",) if model.component("vae") else ()
