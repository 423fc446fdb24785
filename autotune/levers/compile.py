"""compile: the denoiser as compiled code (torch.compile) or as a recorded trace (torch.jit).

Regional compiles the class of a repeated block once: a fraction of the start-up, the same speed
(levers.md A10). Every choice works in place and on all denoisers of the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autotune.levers.base import ChoiceMaker, ModelView, Target
from autotune.levers.mechanisms.compiler import (
    compiled_parts,
    compiler_setting,
    compiler_told,
    graphs_ran,
    is_compiled,
    missing_compiler,
    prepare_compiler,
    recorded_graphs,
)
from autotune.levers.mechanisms.tracing import (
    TRACE_START_UP_S,
    is_traced,
    trace,
    trace_evidence,
    trace_problem,
)
from autotune.levers.plan import Plan
from autotune.levers.script import Script, Untold, call
from autotune.records import Choice, Device, Evidence, Stage

name = "compile"
what = "compiled denoiser"
stage = Stage.COMPILE

_TRACE = "jit-trace"


@dataclass(frozen=True, kw_only=True)
class _Way:
    """One way to compile, and how many seconds longer its first calls may be."""

    what: str
    start_up_s: float
    regional: bool = False
    mode: str | None = None
    dynamic: bool | None = None

    @property
    def tunes(self) -> bool:
        return self.mode is not None and self.mode.startswith("max-autotune")

    @property
    def records(self) -> bool:
        return self.mode in ("reduce-overhead", "max-autotune")


#: Cold, for Flux on an H100: 9.6 s regional, 67 s full (torch devlog 2026-05). On a
#: CPU the C++ compiler takes 6 to 15 s a kernel: 38 to 128 s for two blocks of a tiny Flux on two
#: cores with little time. max-autotune also builds and times every variant of a product.
_WAYS: Mapping[str, _Way] = {
    "regional": _Way(what="the repeated blocks", start_up_s=300, regional=True),
    "regional-max-autotune": _Way(
        what="the repeated blocks, kernels timed against each other",
        start_up_s=900,
        regional=True,
        mode="max-autotune-no-cudagraphs",
    ),
    "regional-dynamic": _Way(
        what="the repeated blocks, for any size", start_up_s=300, regional=True, dynamic=True
    ),
    "full": _Way(what="as a whole", start_up_s=600),
    "full-reduce-overhead": _Way(
        what="as a whole, replayed as CUDA graphs", start_up_s=600, mode="reduce-overhead"
    ),
    "full-max-autotune": _Way(
        what="as a whole, kernels timed, replayed as CUDA graphs",
        start_up_s=1800,
        mode="max-autotune",
    ),
    "full-max-autotune-nographs": _Way(
        what="as a whole, kernels timed against each other",
        start_up_s=1800,
        mode="max-autotune-no-cudagraphs",
    ),
    "full-dynamic": _Way(what="as a whole, for any size", start_up_s=600, dynamic=True),
}


def choices(device: Device, view: ModelView | None) -> Sequence[Choice]:
    """Not compiled, by block, as a whole, or traced."""
    choice = ChoiceMaker(lever=name)
    none = missing_compiler(device)
    return (
        choice("none", "as written", baseline=True),
        *(
            choice(id, way.what, unless=none or _problem(way, device, view))
            for id, way in _WAYS.items()
        ),
        choice(_TRACE, "recorded once, replayed without Python", unless=trace_problem(view)),
    )


def start_up_s(choice: str) -> float:
    """A cold compile, which a later trial with the study's cache does not repeat."""
    if choice == _TRACE:
        return TRACE_START_UP_S
    return _WAYS[choice].start_up_s if choice in _WAYS else 0.0


def apply(target: Target, choice: str) -> None:
    """Compile in place; modules that are compiled so already stay as they are."""
    if choice == _TRACE:
        trace(target)
    elif choice in _WAYS:
        way = _WAYS[choice]
        modules = target.denoisers.values()
        prepare_compiler(target, modules, dynamic=bool(way.dynamic))
        for module in modules:
            if not _done(module, way):
                build = module.compile_repeated_blocks if way.regional else module.compile
                build(fullgraph=False, mode=way.mode, dynamic=way.dynamic)


def engaged(target: Target, choice: str) -> Evidence:
    """Compiled graphs ran in every denoiser that was called; for none, nothing was compiled."""
    if choice == _TRACE:
        return trace_evidence(target)
    if choice not in _WAYS:
        return _nothing(target)
    way = _WAYS[choice]
    marked = {name: len(_done(module, way)) for name, module in target.denoisers.items()}
    ran = graphs_ran(target, marked)
    if not ran.engaged or not way.records or not target.seen:
        return ran
    recorded = recorded_graphs()
    detail = f"{ran.detail}; {recorded} CUDA graphs are recorded"
    return Evidence(engaged=recorded > 0, detail=detail)


def code(script: Script, choice: str) -> Script:
    """A call of every denoiser, after what the compiler has to be told."""
    if choice == "none":
        return script
    if choice == _TRACE:
        raise Untold(
            "a trace stands in for the UNet's forward, which takes code of autotune's own"
        )
    way = _WAYS[choice]
    method = "compile_repeated_blocks" if way.regional else "compile"
    wanted = {"mode": way.mode, "dynamic": way.dynamic}
    how = {name: value for name, value in wanted.items() if value is not None}
    script = compiler_told(script, script.model.denoisers, dynamic=bool(way.dynamic))
    return script.then(*(call(f"{one}.{method}", **how) for one in script.denoisers))


def plan(plan: Plan, choice: str) -> Plan:
    """The denoisers as compiled code; a trace runs what was traced."""
    if choice in ("none", _TRACE):
        return plan
    return plan.but(compiled=plan.compiled | set(plan.model.denoisers))


def _nothing(target: Target) -> Evidence:
    found = [
        name
        for name, module in target.denoisers.items()
        if compiled_parts(module) or is_traced(module)
    ]
    detail = f"compiled: {', '.join(found)}" if found else "nothing is compiled"
    return Evidence(engaged=not found, detail=detail)


def _problem(way: _Way, device: Device, view: ModelView | None) -> str | None:
    if way.records and device.kind not in ("cuda", "rocm"):
        return f"CUDA graphs do not exist on {device.kind}, there it is the same without them"
    module = view.module(view.record.denoiser) if view else None
    if module is None:
        return None
    kind = type(module).__name__
    if kind == "WanAnimateTransformer3DModel":
        return f"{kind} pads by replication, which cannot be compiled (diffusers' own tests)"
    if way.regional and not _repeated(module):
        return f"{kind} does not name its repeated blocks"
    return None


def _repeated(module: Any) -> list[Any]:
    names = getattr(module, "_repeated_blocks", None) or ()
    return [part for part in module.modules() if type(part).__name__ in names]


def _done(module: Any, way: _Way) -> list[Any]:
    """The modules that were compiled in this way, if they are all that it compiles."""
    wanted = _repeated(module) if way.regional else [module]
    if way.regional and is_compiled(module):
        return []
    done = [
        part
        for part in wanted
        if is_compiled(part)
        and bool(compiler_setting(part, "max_autotune")) is way.tunes
        and bool(compiler_setting(part, "triton.cudagraphs")) is way.records
    ]
    return done if len(done) == len(wanted) else []
