"""layerwise-casting: the denoiser's weights lie in fp8 and are cast up layer by layer to compute.

Half of the bytes of bf16 on any device, also where there is no fp8 arithmetic. Only the denoiser:
T5 and other encoders cast their input to the format of their weights and break (B94). It cannot
be undone, and a second call raises (A4).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autotune.levers.base import ChoiceMaker, ModelView, Target
from autotune.levers.plan import Plan
from autotune.levers.script import Name, Script, call
from autotune.records import Choice, Device, Evidence, Fidelity, Stage

name = "layerwise-casting"
what = "weights of the denoiser stored in 8 bits, cast up to compute"
stage = Stage.WRAP

_STORED = {"fp8-e4m3": "float8_e4m3fn", "fp8-e5m2": "float8_e5m2"}


def choices(device: Device, view: ModelView | None) -> Sequence[Choice]:
    """Off, or one of the two 8-bit floats."""
    choice = ChoiceMaker(lever=name)
    problem = _problem(view) if view else None
    return (
        choice("off", "stored as computed", baseline=True),
        choice(
            "fp8-e4m3",
            "8-bit floats, 3 bits of mantissa",
            unless=problem,
            fidelity=Fidelity.BALANCED,
        ),
        choice(
            "fp8-e5m2",
            "8-bit floats, 2 bits of mantissa and a larger range",
            unless=problem,
            fidelity=Fidelity.BALANCED,
        ),
    )


def apply(target: Target, choice: str) -> None:
    """Register the casts, unless they are there."""
    import torch

    if choice == "off":
        return
    for denoiser in target.denoisers.values():
        if not _hooks(denoiser):
            denoiser.enable_layerwise_casting(
                storage_dtype=getattr(torch, _STORED[choice]), compute_dtype=denoiser.dtype
            )


def engaged(target: Target, choice: str) -> Evidence:
    """Count the layers that cast, and the parameters that lie in the format between calls."""
    hooks = [hook for denoiser in target.denoisers.values() for hook in _hooks(denoiser)]
    stored = _STORED.get(choice)
    small = total = 0
    for denoiser in target.denoisers.values():
        for parameter in denoiser.parameters():
            total += parameter.numel()
            small += parameter.numel() * (str(parameter.dtype) == f"torch.{stored}")
    if stored is None:
        return Evidence(engaged=not hooks, detail=f"{len(hooks)} layers cast their weights")
    right = sum(str(hook.storage_dtype) == f"torch.{stored}" for hook in hooks)
    return Evidence(
        engaged=right > 0 and small * 2 > total,
        detail=f"{right} layers cast, {small} of {total} parameters lie in {stored}",
    )


def code(script: Script, choice: str) -> Script:
    """A call of every denoiser."""
    if choice == "off":
        return script
    stored = Name(f"torch.{_STORED[choice]}")
    for one in script.denoisers:
        how = {"storage_dtype": stored, "compute_dtype": Name(f"{one}.dtype")}
        script = script.then(call(f"{one}.enable_layerwise_casting", **how))
    return script.but(hooked=script.hooked | set(script.model.denoisers))


def plan(plan: Plan, choice: str) -> Plan:
    """The denoisers' layers in 8 bits, each cast up while it is used."""
    return plan if choice == "off" else plan.with_parts(plan.model.denoisers, cast=True)


def _problem(view: ModelView) -> str | None:
    denoiser = view.module(view.record.denoiser)
    if hasattr(denoiser, "enable_layerwise_casting"):
        return None
    return f"{type(denoiser).__name__} has no layerwise casting"


def _hooks(denoiser: Any) -> list[Any]:
    """The casts that are registered. The name of the hook is the library's own."""
    found = []
    for module in denoiser.modules():
        registry = getattr(module, "_diffusers_hook", None)
        hook = registry.get_hook("layerwise_casting") if registry is not None else None
        if hook is not None:
            found.append(hook)
    return found
