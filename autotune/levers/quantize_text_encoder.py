"""quantize-text-encoder: the number format of the largest text encoder's Linears.

It runs once a prompt, so that quantizing it costs next to no time, while a T5-XXL or a language
model of seven billion parameters is often half of what lies in memory (levers.md A3.2).
"""

from __future__ import annotations

from collections.abc import Sequence

from autotune.levers.base import ModelView, Target
from autotune.levers.mechanisms.quantization import NONE, offer, prove, quantize, tell, unpacking_s
from autotune.levers.plan import Plan
from autotune.levers.script import Script
from autotune.records import Choice, Device, Evidence, Stage

name = "quantize-text-encoder"
what = "number format of the largest text encoder's weights"
stage = Stage.LOAD
start_up_s = unpacking_s


def choices(device: Device, view: ModelView | None) -> Sequence[Choice]:
    """Weights as stored, or one of the quantizers."""
    return offer(
        name,
        device,
        view,
        view.record.text_encoders[:1] if view else (),
        library="transformers",
        missing="the pipeline has no text encoder",
    )


def apply(target: Target, choice: str) -> None:
    """Ask for the quantizer when the encoder is loaded."""
    quantize(target, target.model.text_encoders[:1], choice)


def engaged(target: Target, choice: str) -> Evidence:
    """The Linears that were converted, counted by the classes of their weights."""
    return prove(target, target.model.text_encoders[:1], choice)


def code(script: Script, choice: str) -> Script:
    """A configuration, by component."""
    return tell(script, script.model.text_encoders[:1], choice)


def plan(plan: Plan, choice: str) -> Plan:
    """Packed Linears."""
    return (
        plan if choice == NONE else plan.with_parts(plan.model.text_encoders[:1], quantizer=choice)
    )
