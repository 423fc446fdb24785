"""offload: which weights lie on the device, and when the others come there from the host.

The one lever that places the pipeline, so no two placements meet (levers.md B1). Nothing is moved
to the device first: a pipeline that was there once has had its peak.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from autotune.errors import BadInput
from autotune.levers.base import ChoiceMaker, ModelView, Target
from autotune.levers.mechanisms.residency import (
    Room,
    blocks_of,
    kept_blocks,
    modules_of,
    offloaded,
    places,
)
from autotune.levers.mechanisms.streaming import (
    GROUPS,
    SHARES,
    evidence,
    fails_by_layer,
    stream,
    stream_told,
)
from autotune.levers.mechanisms.torch_names import is_accelerator, torch_device
from autotune.levers.plan import Place, Plan
from autotune.levers.script import Script, Untold, call
from autotune.records import Choice, Device, Evidence, Model, Stage

name = "offload"
what = "which weights lie on the device"
stage = Stage.PLACE

_WHAT = {
    "none": "everything on the device",
    "model": "one component at a time, copied back to the host after use",
    "sequential": "one layer at a time",
    "group-block": "the denoiser block by block",
    "group-block-4": "the denoiser four blocks at a time",
    "group-block-stream": "the denoiser block by block, the next one on its way",
    "group-leaf": "the denoiser layer by layer",
    "group-leaf-stream": "the denoiser layer by layer, the next one on its way",
    "group-leaf-stream-record": "as group-leaf-stream, without waiting for copies to end",
    "group-leaf-stream-lean": "as group-leaf-stream, pinning host memory as it goes",
    "group-disk": "the denoiser block by block, from the disk",
    "partial-25": "a quarter of the denoiser stays, the rest comes block by block",
    "partial-50": "half of the denoiser stays, the rest comes block by block",
    "partial-75": "three quarters of the denoiser stay, the rest comes block by block",
    "staged": "one component at a time, dropped after use",
}
#: Where components lie that all come and go in the same way, and what does not: Stable Diffusion
#: keeps its safety checker out of it (``_exclude_from_cpu_offload``).
_EACH = {"model": Place.SWAPPED, "staged": Place.STAGED, "sequential": Place.LEAVES}
_STAYS = "safety_checker"
#: Made of accelerate's hooks, which diffusers' VAEs ask only where it is installed.
_BY_ACCELERATE = ("model", "sequential", "staged")


def choices(device: Device, view: ModelView | None) -> Sequence[Choice]:
    """Everything on the device, or one of the ways to keep less there."""
    choice = ChoiceMaker(lever=name)
    return tuple(
        choice(
            id,
            what,
            baseline=id == "none",
            unless=None if id == "none" else _device_problem(device, id) or _problem(view, id),
        )
        for id, what in _WHAT.items()
    )


def apply(target: Target, choice: str) -> None:
    """Place the pipeline, unless it lies so already.

    Raises:
        BadInput: If its weights are offloaded in another way, which nothing here takes back.
    """
    pipe = target.pipe
    found = offloaded(pipe)
    if found and engaged(target, choice).engaged:
        return
    if found:
        listed = ", ".join(f"{part} ({how})" for part, how in found.items())
        raise BadInput(
            f"the pipeline is offloaded in another way already: {listed}",
            hint="load the pipeline again, and leave where its parts lie to autotune",
        )
    device = torch_device(target.device)
    if choice == "none":
        pipe.to(device)
    elif choice == "model":
        pipe.enable_model_cpu_offload(device=device)
    elif choice == "staged":
        _stage(pipe, device)
    elif choice != "sequential":
        stream(target, choice, device)
    elif is_accelerator(target.device):
        pipe.enable_sequential_cpu_offload(device=device)
    else:
        raise ValueError("accelerate offloads layer by layer only from an accelerator")


def _stage(pipe: Any, device: str) -> None:
    room = Room(device)
    for part, module in modules_of(pipe).items():
        if part in pipe._exclude_from_cpu_offload:
            module.to(device)
        else:
            room.admit(module)


# -------------------------------------------------------------------------------- evidence


def engaged(target: Target, choice: str) -> Evidence:
    """Read from the components what moves their weights, and where the weights lie."""
    if choice in GROUPS or choice in SHARES:
        return evidence(target, choice)
    found = offloaded(target.pipe)
    modules = modules_of(target.pipe)
    if choice == "none":
        device = torch_device(target.device).partition(":")[0]
        away = [part for part, one in modules.items() if places(one) - {device}]
        return Evidence(
            engaged=not found and not away,
            detail=f"offloaded: {_list(found)}; not on {device}: {_list(away)}",
        )
    hooked = [part for part, how in found.items() if how == choice]
    if choice == "sequential":
        strays = [part for part in target.denoisers if places(modules[part]) != {"meta"}]
    elif choice == "model":
        strays = [part for part in hooked if places(modules[part]) - {"cpu"}]
        hooked = hooked if getattr(target.pipe, "_all_hooks", ()) else []
    else:
        return _staged(target, modules, hooked)
    return Evidence(
        engaged=bool(hooked) and not strays and set(target.denoisers) <= set(hooked),
        detail=f"offloaded: {_list(hooked)}; not back on the host: {_list(strays)}",
    )


def code(script: Script, choice: str) -> Script:
    """A call of the pipeline's, or what `stream` does.

    Raises:
        Untold: If a component is dropped after use: diffusers copies it back.
    """
    if choice == "staged":
        raise Untold("what drops a component after use is code of autotune's own")
    script = script.but(placed=True)
    if choice == "none":
        return script.then(call("pipe.to", script.device))
    if choice in GROUPS or choice in SHARES:
        return stream_told(script, choice)
    script = script.but(hooked=script.hooked | {one.name for one in script.model.components})
    return script.then(call(f"pipe.enable_{choice}_cpu_offload", device=script.device))


def plan(plan: Plan, choice: str) -> Plan:
    """The components one by one, or the denoisers in pieces and the encoders in layers."""
    if choice == "none":
        return plan
    if choice in _EACH:
        moved = plan.parts.keys() - {_STAYS}
        # What is read layer by layer, and never written back, may stay in its file.
        return _placed(plan, moved, place=_EACH[choice], from_disk=choice == "sequential")
    how = GROUPS.get(choice, {"use_stream": True})
    leaves = {
        "place": Place.LEAVES,
        "ahead": bool(how.get("use_stream")),
        "from_disk": bool(how.get("low_cpu_mem_usage")),
    }
    plan = _placed(plan, plan.model.text_encoders, **leaves)
    plan = _placed(plan, _by_themselves(plan.model), place=Place.STAGED, ahead=False)
    if how.get("offload_type") == "leaf_level":
        return _placed(plan, plan.model.denoisers, **leaves)
    return _placed(
        plan,
        plan.model.denoisers,
        place=Place.BLOCKS,
        share=SHARES.get(choice, 0.0),
        # Of a share blocks come layer by layer, one after the other: never a whole one.
        at_once=how.get("num_blocks_per_group", 0),
        ahead=leaves["ahead"],
        from_disk=choice == "group-disk",
    )


def _by_themselves(model: Model) -> list[str]:
    """The encoders that cannot be streamed: each comes as a whole and leaves after its call."""
    encoders = set(model.text_encoders)
    parts = (part for part in model.components if part.name in encoders)
    return [part.name for part in parts if fails_by_layer(part.class_name)]


def _placed(plan: Plan, names: Iterable[str], **where: Any) -> Plan:
    """Those components there, but for those that another lever took off the device."""
    away = (Place.HOST, Place.GONE)
    return plan.with_parts(
        [name for name in names if name in plan.parts and plan.parts[name].place not in away],
        **where,
    )


def _staged(target: Target, modules: Mapping[str, Any], hooked: Sequence[str]) -> Evidence:
    """Once something was generated, one component lies on the device: the last one used."""
    here = [part for part in hooked if modules[part]._hf_hook.present]
    strays = [part for part in hooked if part not in here and places(modules[part]) - {"cpu"}]
    most = 1 if target.seen else 0
    return Evidence(
        engaged=set(target.denoisers) <= set(hooked) and not strays and most <= len(here) <= 1,
        detail=f"on the device: {_list(here)}; comes and goes: {_list(hooked)}",
    )


def _list(parts: Sequence[str] | Mapping[str, str]) -> str:
    return ", ".join(parts) or "nothing"


# --------------------------------------------------------------------------- what exists where


def _device_problem(device: Device, id: str) -> str | None:
    if not is_accelerator(device):
        return "the device is the host: there is nowhere to offload to"
    if id in _BY_ACCELERATE and find_spec("accelerate") is None:
        return "needs the package accelerate, which is not installed"
    return None


def _problem(view: ModelView | None, id: str) -> str | None:
    if view is None:
        return None
    if id == "model":
        return _no_order(view.record.pipeline)
    if id == "sequential":
        return next(
            (
                f"{part.class_name} fails when its layers are offloaded one by one"
                for part in view.record.components
                if fails_by_layer(part.class_name)
            ),
            None,
        )
    if id == "staged":
        return None
    denoiser = view.module(view.record.denoiser)
    if not getattr(denoiser, "_supports_group_offloading", True):
        return f"diffusers does not offload groups of layers of {type(denoiser).__name__}"
    if id in SHARES:
        return _nothing_to_stream(denoiser, SHARES[id])
    return None


def _no_order(pipeline: str) -> str | None:
    import diffusers

    if getattr(getattr(diffusers, pipeline), "model_cpu_offload_seq", None) is not None:
        return None
    return f"{pipeline} does not say in which order its components run (model_cpu_offload_seq)"


def _nothing_to_stream(denoiser: Any, share: float) -> str | None:
    blocks = len(blocks_of(denoiser))
    kept = len(kept_blocks(denoiser, share))
    if kept < blocks:
        return None
    return (
        f"{kept} of the {blocks} blocks of {type(denoiser).__name__} would stay: none is streamed"
    )
