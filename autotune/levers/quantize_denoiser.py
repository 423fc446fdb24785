"""quantize-denoiser: the number format of the denoiser's Linears, twins included.

Eight bits halve the memory of what is usually the largest component, four take a quarter. Products
of 8-bit numbers are faster than bf16 once compiled; all else is as fast or slower (levers.md A12).
"""

from __future__ import annotations

from collections.abc import Sequence

from autotune.levers.base import ModelView, Target
from autotune.levers.mechanisms.quantization import NONE, offer, prove, quantize, tell, unpacking_s
from autotune.levers.plan import Plan
from autotune.levers.script import Script
from autotune.records import Choice, Device, Evidence, Stage

name = "quantize-denoiser"
what = "number format of the denoiser's weights"
stage = Stage.LOAD
start_up_s = unpacking_s


def choices(device: Device, view: ModelView | None) -> Sequence[Choice]:
    """Weights as stored, or one of the quantizers."""
    return offer(
        name,
        device,
        view,
        view.record.denoisers if view else (),
        library="diffusers",
        missing="the pipeline has no denoiser",
    )


def apply(target: Target, choice: str) -> None:
    """Ask for the quantizer when the denoisers are loaded."""
    quantize(target, target.model.denoisers, choice)


def engaged(target: Target, choice: str) -> Evidence:
    """The Linears that were converted, counted by the classes of their weights."""
    return prove(target, target.model.denoisers, choice)


def code(script: Script, choice: str) -> Script:
    """A configuration, by component."""
    return tell(script, script.model.denoisers, choice)


def plan(plan: Plan, choice: str) -> Plan:
    """Packed Linears."""
    return plan if choice == NONE else plan.with_parts(plan.model.denoisers, quantizer=choice)
