"""fuse-qkv: query, key and value from one matrix product in every attention of the denoiser.

The fused matrices come beside the single ones, which stay: it takes more memory, not less (A8).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from autotune.levers.base import ChoiceMaker, ModelView, Target
from autotune.levers.plan import Plan
from autotune.levers.script import Script, call
from autotune.records import Choice, Device, Evidence, Stage

name = "fuse-qkv"
what = "query, key and value in one matrix product"
stage = Stage.BUILD

_FUSED = ("to_qkv", "to_kv", "to_added_qkv")


def choices(device: Device, view: ModelView | None) -> Sequence[Choice]:
    """Off, or on where the denoiser has projections that can be fused."""
    choice = ChoiceMaker(lever=name)
    return (
        choice("off", "three products", baseline=True),
        choice("on", "one product; keeps both copies", unless=_problem(view) if view else None),
    )


def apply(target: Target, choice: str) -> None:
    """Fuse all denoisers, or take the fused projections out again."""
    for denoiser in target.denoisers.values():
        fused = any(True for _ in _projections(denoiser))
        # Fusing a UNet twice would lose its own processors: it remembers those it replaces.
        if choice == "on" and not fused:
            denoiser.fuse_qkv_projections()
        elif choice == "off" and fused:
            denoiser.unfuse_qkv_projections()
            _remove(denoiser)


def watched(target: Target, choice: str) -> Mapping[str, Any]:
    """The fused projections, whose calls show that attention goes through them."""
    return {
        f"{name}:{part}.{path}": module
        for part, denoiser in target.denoisers.items()
        for path, module in _projections(denoiser)
    }


def engaged(target: Target, choice: str) -> Evidence:
    """Count the fused projections, and those that were called in the observed generation."""
    there = watched(target, choice)
    if choice == "off":
        return Evidence(engaged=not there, detail=f"{len(there)} fused projections")
    calls = [target.seen[watch].calls for watch in there if watch in target.seen]
    if not calls:
        detail = f"{len(there)} fused projections, nothing generated yet"
        return Evidence(engaged=bool(there), detail=detail)
    used = sum(count > 0 for count in calls)
    detail = f"{used} of {len(there)} fused projections in use"
    return Evidence(engaged=used > 0, detail=detail)


def code(script: Script, choice: str) -> Script:
    """A call of every denoiser."""
    if choice == "off":
        return script
    return script.then(*(call(f"{one}.fuse_qkv_projections") for one in script.denoisers))


def plan(plan: Plan, choice: str) -> Plan:
    """The fused matrices beside the single ones."""
    return plan.but(fused=choice == "on")


def _problem(view: ModelView) -> str | None:
    denoiser = view.module(view.record.denoiser)
    kind = type(denoiser).__name__
    if not hasattr(denoiser, "fuse_qkv_projections"):
        return f"{kind} has no fused projections"
    tried = copy.deepcopy(denoiser)  # without weights; the view's own is not to be changed
    try:
        tried.fuse_qkv_projections()
    except (AttributeError, ValueError) as error:
        return f"{kind} cannot fuse its projections: {str(error).splitlines()[0].rstrip('.')}"
    if not any(True for _ in _projections(tried)):
        return f"{kind} has no attention whose projections can be fused"
    return None


def _projections(denoiser: Any) -> Iterator[tuple[str, Any]]:
    for path, module in denoiser.named_modules():
        if getattr(module, "fused_projections", False):
            for one in _FUSED:
                if getattr(module, one, None) is not None:
                    yield f"{path}.{one}", getattr(module, one)


def _remove(denoiser: Any) -> None:
    """What a UNet leaves behind when it goes back to its own processors."""
    for module in denoiser.modules():
        if getattr(module, "fused_projections", False):
            for one in _FUSED:
                if hasattr(module, one):
                    delattr(module, one)
            module.fused_projections = False
