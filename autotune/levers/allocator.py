"""allocator: how torch's allocator takes memory from the card.

Expandable segments grow in place, so less is lost to gaps between blocks near the budget. Torch
reads ``PYTORCH_ALLOC_CONF`` when it starts; a running process is told through the same parser, and
memory taken before stays as it is: hence before loading.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from autotune.levers.base import ChoiceMaker, ModelView, Target
from autotune.levers.script import Script
from autotune.records import Choice, Device, Evidence, Stage

name = "allocator"
what = "how memory is taken from the card"
stage = Stage.LOAD

_EXPANDABLE = "expandable_segments:True"
#: In the order in which torch looks at them (c10 AllocatorConfig, torch 2.10 and later).
_VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")


def choices(device: Device, view: ModelView | None) -> Sequence[Choice]:
    """As torch is set, or segments that grow."""
    choice = ChoiceMaker(lever=name)
    elsewhere = f"only the allocator for NVIDIA cards has it, this is {device.kind}"
    return (
        choice("default", "as torch and the environment have it", baseline=True),
        choice(
            "expandable-segments",
            "segments grow in place",
            unless=None if device.kind == "cuda" else elsewhere,
        ),
    )


def apply(target: Target, choice: str) -> None:
    """Add the setting to those that hold."""
    import torch

    if choice == "default":
        return
    settings = _settings()
    if _EXPANDABLE not in settings:
        torch._C._accelerator_setAllocatorSettings(
            f"{settings},{_EXPANDABLE}" if settings else _EXPANDABLE
        )


def code(script: Script, choice: str) -> Script:
    """The variable that torch reads when it starts."""
    if choice == "default":
        return script
    return script.but(environment={**script.environment, _VARIABLES[0]: _EXPANDABLE})


def _settings() -> str:
    """What holds now; torch 2.11 does not tell, and then it is what the environment asked for."""
    import torch

    ask = getattr(torch._C, "_accelerator_getAllocatorSettings", None)
    if ask is not None:
        return str(ask())
    return next((text for name in _VARIABLES if (text := os.environ.get(name))), "")


def engaged(target: Target, choice: str) -> Evidence:
    """The allocator's own list of segments says which of them can grow."""
    import torch

    segments = torch.cuda.memory_snapshot() if torch.cuda.is_initialized() else []
    grown = sum(segment["total_size"] for segment in segments if segment["is_expandable"])
    total = sum(segment["total_size"] for segment in segments)
    detail = f"{grown} of {total} bytes lie in segments that grow"
    if choice == "default":
        asked = any(_EXPANDABLE in os.environ.get(variable, "") for variable in _VARIABLES)
        return Evidence(engaged=asked or grown == 0, detail=detail)
    return Evidence(engaged=grown * 2 > total, detail=detail)
