"""batch: how many of the workload's batches one call makes. It serves throughput, not latency.

Times are divided by it, so that candidates stay comparable. A recipe with ``x4`` holds for calls
that ask for four times as many pictures: nothing in the pipeline can be set to do so.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import wraps
from typing import Any

from autotune.levers.base import ChoiceMaker, ModelView, Target
from autotune.levers.plan import Plan
from autotune.levers.script import Script
from autotune.records import Choice, Device, Evidence, Stage

name = "batch"
what = "batches made in one call"
stage = Stage.CALL

_TIMES = {"as-asked": 1, "x2": 2, "x4": 4, "x8": 8}
_WATCH = "batch:decode"
#: Where the gate is found on the VAE's ``decode``, so that there is one.
_GATE = "_autotune_gate"


def choices(device: Device, view: ModelView | None) -> Sequence[Choice]:
    """As the workload asks, or two, four or eight times as many."""
    choice = ChoiceMaker(lever=name)
    problem = _problem(view) if view else None
    return (
        choice("as-asked", "the workload's batch", baseline=True),
        *(
            choice(id, f"{times} times the workload's batch in one call", unless=problem)
            for id, times in _TIMES.items()
            if times > 1
        ),
    )


def apply(target: Target, choice: str) -> None:
    """Tell whoever calls the pipeline."""
    target.multiple = _TIMES[choice]


def watched(target: Target, choice: str) -> Mapping[str, Any]:
    """What passes everything decoded: pictures come out of it whole, not in tiles or slices."""
    if target.vae is None:
        return {}
    gate = getattr(target.vae.decode, _GATE, None) or _set_up_gate(target.vae)
    return {_WATCH: gate}


def engaged(target: Target, choice: str) -> Evidence:
    """So many pictures came out of decoding."""
    wanted = target.workload.batch * _TIMES[choice]
    seen = target.seen.get(_WATCH)
    if seen is None:
        detail = f"{target.batch} a call asked for, nothing generated yet"
        return Evidence(engaged=target.batch == wanted, detail=detail)
    made = seen.calls * seen.widest_output[0] if seen.widest_output else 0
    return Evidence(engaged=made == wanted, detail=f"{made} of {wanted} decoded in one call")


def code(script: Script, choice: str) -> Script:
    """More pictures in the call."""
    return script.but(multiple=_TIMES[choice])


def plan(plan: Plan, choice: str) -> Plan:
    """More pictures in one call."""
    return plan.but(multiple=_TIMES[choice])


def _problem(view: ModelView) -> str | None:
    import diffusers

    if view.module("vae") is None:
        return "the pipeline has no VAE at which pictures could be counted"
    kind = getattr(diffusers, view.record.pipeline)
    wanted = "num_images_per_prompt" if view.workload.frames is None else "num_videos_per_prompt"
    if wanted not in inspect.signature(kind.__call__).parameters:
        return f"{view.record.pipeline} does not take {wanted}"
    return None


def _set_up_gate(vae: Any) -> Any:
    """A module that does nothing, through which what is decoded goes, to be counted there."""
    import torch

    decode, gate = vae.decode, torch.nn.Identity()

    @wraps(decode)
    def decode_through_gate(*arguments: Any, **named: Any) -> Any:
        output = decode(*arguments, **named)
        gate(output[0] if isinstance(output, tuple) else output.sample)
        return output

    setattr(decode_through_gate, _GATE, gate)
    vae.decode = decode_through_gate
    return gate
