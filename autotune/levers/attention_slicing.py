"""attention-slicing: compute UNet attention a slice at a time. Saves memory, costs time.

It swaps in processors of its own, which do not use SDPA; only the UNet family has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autotune.levers.base import ChoiceMaker, ModelView, Target
from autotune.levers.plan import Plan
from autotune.records import Choice, Device, Evidence, Stage

name = "attention-slicing"
what = "compute UNet attention a slice at a time"
stage = Stage.BUILD

#: Of the scores, how many lie in memory at once. A UNet has eight heads or more.
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


def plan(plan: Plan, choice: str) -> Plan:
    """Scores are written down, for some of the heads at once."""
    return plan.but(scores=_SHARES[choice]) if choice in _SHARES else plan


def _problem(view: ModelView) -> str | None:
    denoiser = view.module(view.record.denoiser)
    if hasattr(denoiser, "set_attention_slice"):
        return None
    return f"{type(denoiser).__name__} has no sliced attention"


def _sliced(denoiser: Any) -> int:
    processors = (getattr(module, "processor", None) for module in denoiser.modules())
    return sum(type(processor).__name__.startswith("Sliced") for processor in processors)
