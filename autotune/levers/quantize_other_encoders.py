"""quantize-other-encoders: the number format of all text encoders but the largest.

Beside a T5 the CLIP encoders are small: what there is to gain is small too, but for pipelines with
two large encoders (HiDream).
"""

from __future__ import annotations

from collections.abc import Sequence

from autotune.levers.base import ModelView, Target
from autotune.levers.mechanisms.quantization import NONE, offer, prove, quantize, tell, unpacking_s
from autotune.levers.plan import Plan
from autotune.levers.script import Script
from autotune.records import Choice, Device, Evidence, Stage

name = "quantize-other-encoders"
what = "number format of the other text encoders' weights"
stage = Stage.LOAD
start_up_s = unpacking_s


def choices(device: Device, view: ModelView | None) -> Sequence[Choice]:
    """Weights as stored, or one of the quantizers."""
    return offer(
        name,
        device,
        view,
        view.record.text_encoders[1:] if view else (),
        library="transformers",
        missing="the pipeline has no further text encoder",
    )


def apply(target: Target, choice: str) -> None:
    """Ask for the quantizer when the encoders are loaded."""
    quantize(target, target.model.text_encoders[1:], choice)


def engaged(target: Target, choice: str) -> Evidence:
    """The Linears that were converted, counted by the classes of their weights."""
    return prove(target, target.model.text_encoders[1:], choice)


def code(script: Script, choice: str) -> Script:
    """A configuration, by component."""
    return tell(script, script.model.text_encoders[1:], choice)


def plan(plan: Plan, choice: str) -> Plan:
    """Packed Linears."""
    return (
        plan if choice == NONE else plan.with_parts(plan.model.text_encoders[1:], quantizer=choice)
    )
