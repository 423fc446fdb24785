"""attention-slicing: compute UNet attention a slice at a time. Saves memory, costs time.

It swaps in processors of its own, which do not use SDPA; only the UNet family has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autotune.levers.base import ChoiceMaker, ModelView, Target
from autotune.levers.plan import Plan
from autotune.levers.script import Script, call
from autotune.records import Choice, Device, Evidence, Stage

name = "attention-slicing"
what = "compute UNet attention a slice at a time"
stage = Stage.BUILD

#: Of a picture's heads, how many are computed at once. Where its attention is largest, SD 1.5 has
#: eight, SDXL ten and SD 2 five.
_SHARES = {"auto": 0.5, "max": 0.125}


def choices(device: Device, view: ModelView | None) -> Sequence[Choice]:
    """Off, half the heads at a time, or one at a time."""
    choice = ChoiceMaker(lever=name)
    problem = _problem(view) if view else None
    return (
        choice("off", "all heads at once", baseline=True),
        choice("auto", "half of the heads at once", unless=problem),
        choice("max", "one slice at a time", unless=problem),
    )


def apply(target: Target, choice: str) -> None:
    """Switch slicing on the denoiser."""
    if choice != "off":
        target.denoiser.set_attention_slice(choice)
    elif _sliced(target.denoiser):
        target.pipe.disable_attention_slicing()


def engaged(target: Target, choice: str) -> Evidence:
    """Count the sliced processors."""
    sliced = _sliced(target.denoiser)
    return Evidence(
        engaged=sliced == 0 if choice == "off" else sliced > 0,
        detail=f"{sliced} sliced attention processors",
    )


def code(script: Script, choice: str) -> Script:
    """A call of the UNet."""
    if choice == "off":
        return script
    return script.then(call(f"{script.denoiser}.set_attention_slice", choice))


def plan(plan: Plan, choice: str) -> Plan:
    """Scores are written down, for some of the heads of one picture at once."""
    if choice not in _SHARES:
        return plan
    guidance = plan.workload.guidance
    # UNets compute both halves of guidance as one batch, and guide unless told not to.
    halves = 2 if guidance is None or guidance > 1 else 1
    return plan.but(scores=_SHARES[choice] / (plan.workload.batch * halves))


def _problem(view: ModelView) -> str | None:
    denoiser = view.module(view.record.denoiser)
    if hasattr(denoiser, "set_attention_slice"):
        return None
    return f"{type(denoiser).__name__} has no sliced attention"


def _sliced(denoiser: Any) -> int:
    processors = (getattr(module, "processor", None) for module in denoiser.modules())
    return sum(type(processor).__name__.startswith("Sliced") for processor in processors)
