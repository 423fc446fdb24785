"""vae-dtype: the number format of the VAE alone, apart from the rest of the pipeline.

Wan's documentation decodes in fp32; SDXL's VAE overflows in fp16, so its pipeline casts it up and
down at every call, which bf16 does without. Some pipelines hand their latents over in their own
format (SD, Flux, SD3), others cast them first (Wan, Sana): here ``decode`` casts what it gets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from autotune.levers.base import ChoiceMaker, ModelView, Target
from autotune.levers.mechanisms.capability import AMPERE, older_than
from autotune.levers.plan import Plan
from autotune.levers.script import Script
from autotune.records import Choice, Device, Evidence, Fidelity, Stage

name = "vae-dtype"
what = "number format of the VAE alone"
stage = Stage.BUILD

_TORCH_NAME = {"fp32": "float32", "bf16": "bfloat16"}
_BYTES = {"fp32": 4, "bf16": 2}
#: Below this many bytes a parameter another lever has quantized or replaced the VAE.
_PLAIN_BYTES = 2
#: Marks our ``decode`` on the VAE, so that it is wrapped once.
_MARK = "_autotune_casts"
#: What `_casting` does, as code.
_CASTING = '''
def casting(vae, decode):
    """decode, with every floating-point tensor it gets cast to the VAE's format."""

    def cast(value):
        floating = isinstance(value, torch.Tensor) and value.is_floating_point()
        return value.to(vae.dtype) if floating else value

    @functools.wraps(decode)
    def decode_cast(*args, **kwargs):
        kwargs = {name: cast(value) for name, value in kwargs.items()}
        return decode(*map(cast, args), **kwargs)

    return decode_cast
'''


def choices(device: Device, view: ModelView | None) -> Sequence[Choice]:
    """As the pipeline, or one of two formats; fp16 is left out, it overflows in several VAEs."""
    choice = ChoiceMaker(lever=name)
    absent = "the pipeline has no VAE" if view and view.module("vae") is None else None
    return (
        choice("same", "as the rest of the pipeline", baseline=True),
        choice("fp32", "32-bit floats", unless=absent),
        choice(
            "bf16",
            "bfloat16",
            unless=older_than(device, AMPERE, "bf16") or absent,
            fidelity=Fidelity.CLOSE,
        ),
    )


def apply(target: Target, choice: str) -> None:
    """Cast the VAE, and from then on whatever its ``decode`` is given."""
    import torch

    if choice == "same":
        return
    dtype = getattr(torch, _TORCH_NAME[choice])
    target.vae.to(dtype)
    if not _casts(target.vae):
        # On the object, in front of the method: hooks of offloading and tiling are behind it.
        target.vae.decode = _casting(target.vae, target.vae.decode)


def engaged(target: Target, choice: str) -> Evidence:
    """Every floating-point parameter of the VAE has the format, and decoding casts its input."""
    if choice == "same":
        casts = _casts(target.vae)
        detail = "decoding casts its input" if casts else "as the rest of the pipeline"
        return Evidence(engaged=not casts, detail=detail)
    counts = Counter(
        str(parameter.dtype).removeprefix("torch.")
        for parameter in target.vae.parameters()
        if parameter.is_floating_point()
    )
    listed = ", ".join(f"{count} {dtype}" for dtype, count in counts.most_common())
    return Evidence(
        engaged=set(counts) == {_TORCH_NAME[choice]} and _casts(target.vae),
        detail=f"VAE parameters: {listed}",
    )


def code(script: Script, choice: str) -> Script:
    """The cast, and the function that is put in front of ``decode``."""
    if choice == "same":
        return script
    return (
        script.importing("functools")
        .defining(_CASTING)
        .then(
            f"pipe.vae.to(torch.{_TORCH_NAME[choice]})",
            "pipe.vae.decode = casting(pipe.vae, pipe.vae.decode)",
        )
    )


def plan(plan: Plan, choice: str) -> Plan:
    """The VAE in the format."""
    return plan if choice == "same" else plan.with_parts(["vae"], dtype=choice)


def _casts(vae: Any) -> bool:
    return bool(getattr(getattr(vae, "decode", None), _MARK, False))


def _casting(vae: Any, decode: Callable[..., Any]) -> Callable[..., Any]:
    """``decode`` with every floating-point tensor it gets cast to the VAE's format."""
    import torch

    def cast(value: Any) -> Any:
        floating = isinstance(value, torch.Tensor) and value.is_floating_point()
        return value.to(vae.dtype) if floating else value

    @wraps(decode)
    def decode_cast(*arguments: Any, **named: Any) -> Any:
        return decode(*map(cast, arguments), **{key: cast(one) for key, one in named.items()})

    setattr(decode_cast, _MARK, True)
    return decode_cast
