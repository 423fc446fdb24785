"""dtype: the number format of weights and computation, set once for the whole pipeline.

Loading in a dtype, not casting later, is what keeps the modules a family wants in fp32 there
(``_keep_in_fp32_modules``), and a mixed choice fails on several families: levers.md A2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from autotune.levers.base import ChoiceMaker, ModelView, Target
from autotune.levers.mechanisms.capability import AMPERE, older_than
from autotune.levers.plan import Plan
from autotune.levers.script import Name, Script
from autotune.records import Choice, Device, Evidence, Fidelity, Model, Stage

name = "dtype"
what = "number format of weights and computation"
stage = Stage.LOAD

_TORCH_NAME = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}


def choices(device: Device, view: ModelView | None) -> Sequence[Choice]:
    """Three formats; the baseline is the one the checkpoint is stored in."""
    choice = ChoiceMaker(lever=name)
    stored = _stored(view.record) if view else "bf16"
    no_bf16 = older_than(device, AMPERE, "bf16")
    if stored == "bf16" and no_bf16:
        stored = "fp32"
    return (
        choice("fp32", "32-bit floats", baseline=stored == "fp32"),
        choice(
            "bf16",
            "bfloat16: half the bytes, the range of fp32",
            unless=no_bf16,
            baseline=stored == "bf16",
            fidelity=Fidelity.EXACT if stored == "bf16" else Fidelity.CLOSE,
        ),
        choice(
            "fp16",
            "float16: half the bytes, a small range",
            baseline=stored == "fp16",
            fidelity=Fidelity.EXACT if stored == "fp16" else Fidelity.CLOSE,
        ),
    )


def apply(target: Target, choice: str) -> None:
    """Ask ``from_pretrained`` for the format."""
    import torch

    target.load_arguments["dtype"] = getattr(torch, _TORCH_NAME[choice])


def engaged(target: Target, choice: str) -> Evidence:
    """Most floating-point parameters of the denoiser have the format.

    Those of a byte are stored so by another lever; nothing is computed in that format.
    """
    counts = Counter(
        str(parameter.dtype).removeprefix("torch.")
        for parameter in target.denoiser.parameters()
        if parameter.is_floating_point() and parameter.element_size() > 1
    )
    wanted = counts[_TORCH_NAME[choice]]
    listed = ", ".join(f"{count} {dtype}" for dtype, count in counts.most_common())
    return Evidence(engaged=wanted * 2 > counts.total(), detail=f"denoiser parameters: {listed}")


def code(script: Script, choice: str) -> Script:
    """An argument of ``from_pretrained``."""
    return script.loading(dtype=Name(f"torch.{_TORCH_NAME[choice]}"))


def plan(plan: Plan, choice: str) -> Plan:
    """All components in the format."""
    return plan.with_parts(plan.parts, dtype=choice)


def _stored(model: Model) -> str:
    denoiser: Any = model.component(model.denoiser)
    return denoiser.dtype if denoiser and denoiser.dtype in _BYTES else "fp32"
