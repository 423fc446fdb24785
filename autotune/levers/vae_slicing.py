"""vae-slicing: decode a batch one picture at a time; a single picture leaves nothing to split."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.levers.base import ChoiceMaker, ModelView, Target
from autotune.levers.plan import Plan
from autotune.levers.script import Script, call
from autotune.records import Choice, Device, Evidence, Stage

name = "vae-slicing"
what = "decode a batch one picture at a time"
stage = Stage.BUILD


def choices(device: Device, view: ModelView | None) -> Sequence[Choice]:
    """Off, or on where the batch has something to split."""
    choice = ChoiceMaker(lever=name)
    return (
        choice("off", "the whole batch at once", baseline=True),
        choice("on", "one picture at a time", unless=_problem(view) if view else None),
    )


def apply(target: Target, choice: str) -> None:
    """Switch slicing."""
    vae = target.vae
    if choice == "on":
        vae.enable_slicing()
    elif getattr(vae, "use_slicing", False):
        vae.disable_slicing()


def engaged(target: Target, choice: str) -> Evidence:
    """Of a batch, no call of the decoder saw more than one picture."""
    seen = target.seen.get("vae.decoder")
    if choice == "off":
        return Evidence(engaged=True, detail="the whole batch at once")
    if seen is None:
        flag = bool(getattr(target.vae, "use_slicing", False))
        return Evidence(engaged=flag, detail="flag set, nothing generated yet")
    batch = seen.widest_output[0] if seen.widest_output else 0
    return Evidence(
        engaged=batch == 1 and seen.calls >= target.batch > 1,
        detail=f"{seen.calls} decoder calls of {batch} picture(s)",
    )


def code(script: Script, choice: str) -> Script:
    """A switch of the VAE's."""
    return script.then(call("pipe.vae.enable_slicing")) if choice == "on" else script


def plan(plan: Plan, choice: str) -> Plan:
    """A picture at a time."""
    return plan.but(sliced=choice == "on")


def _problem(view: ModelView) -> str | None:
    vae = view.module("vae")
    if vae is None:
        return "the pipeline has no VAE"
    if view.workload.batch == 1:
        return "nothing to split: one picture at a time is asked for"
    try:
        vae.enable_slicing()
    except (AttributeError, NotImplementedError):
        return f"{type(vae).__name__} cannot decode slice by slice"
    return None
