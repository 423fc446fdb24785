"""compile-vae: the VAE's decoder as compiled code.

Only the decoder: a pipeline calls ``vae.decode``, never ``vae()``, so ``vae.compile()`` is
accepted and does nothing (levers.md, B68).
"""

from __future__ import annotations

from collections.abc import Sequence

from autotune.levers.base import ChoiceMaker, ModelView, Target
from autotune.levers.mechanisms.compiler import (
    compiler_told,
    graphs_ran,
    is_compiled,
    missing_compiler,
    prepare_compiler,
)
from autotune.levers.plan import Plan
from autotune.levers.script import Script, call
from autotune.records import Choice, Device, Evidence, Stage

name = "compile-vae"
what = "compiled VAE decoder"
stage = Stage.COMPILE

#: Under this name the observed generation counts the decoder's calls.
_DECODER = "vae.decoder"
#: 15 to 60 s were seen for a tiny image VAE on a CPU; a video VAE has many more shapes.
_START_UP_S = 300.0


def choices(device: Device, view: ModelView | None) -> Sequence[Choice]:
    """Off or on; it needs a VAE with a module named decoder, and a compiler."""
    choice = ChoiceMaker(lever=name)
    return (
        choice("off", "as written", baseline=True),
        choice("on", "the decoder", unless=missing_compiler(device) or _problem(view)),
    )


def start_up_s(choice: str) -> float:
    """A cold compile, which a later trial with the study's cache does not repeat."""
    return _START_UP_S if choice == "on" else 0.0


def apply(target: Target, choice: str) -> None:
    """Compile the decoder in place."""
    if choice == "on" and not is_compiled(target.vae.decoder):
        prepare_compiler(target, [target.vae])
        target.vae.decoder.compile(fullgraph=False)


def engaged(target: Target, choice: str) -> Evidence:
    """Compiled graphs ran inside the decoder's calls."""
    decoder = getattr(target.vae, "decoder", None)
    compiled = decoder is not None and is_compiled(decoder)
    if choice == "off":
        detail = "the decoder is compiled" if compiled else "nothing is compiled"
        return Evidence(engaged=not compiled, detail=detail)
    return graphs_ran(target, {_DECODER: int(compiled)})


def code(script: Script, choice: str) -> Script:
    """The decoder, compiled in place."""
    if choice == "off":
        return script
    return compiler_told(script, ["vae"]).then(call("pipe.vae.decoder.compile"))


def plan(plan: Plan, choice: str) -> Plan:
    """The decoder as compiled code."""
    return plan.but(compiled=plan.compiled | {"vae"}) if choice == "on" else plan


def _problem(view: ModelView | None) -> str | None:
    if view is None:
        return None
    vae = view.module("vae")
    if vae is None:
        return "the pipeline has no VAE"
    if getattr(vae, "decoder", None) is None:
        return f"{type(vae).__name__} has no decoder of its own to compile"
    return None
