"""attention: which kernel computes the attention of the denoiser.

A backend is set on the model, not on single modules, and only denoisers whose processors carry
``_attention_backend`` obey it: on the others the call succeeds and does nothing (A7). There the
older switch for xformers, which swaps the processors, is all there is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from autotune.levers.base import ChoiceMaker, ModelView, Target
from autotune.levers.mechanisms.attention_backends import (
    BACKENDS,
    Backend,
    device_problem,
    hub_kernels_problem,
)
from autotune.levers.mechanisms.attention_smoke import smoke_problem
from autotune.levers.plan import Plan
from autotune.levers.script import Script, Untold, call
from autotune.records import Choice, Device, Evidence, Stage

name = "attention"
what = "attention kernel of the denoiser"
stage = Stage.BUILD

#: Processors that the switch for xformers replaces by what computes the same; it would replace
#: others too, among them the linear attention of Sana.
_SWAPPABLE = {"AttnProcessor", "AttnProcessor2_0", "JointAttnProcessor2_0"}
_SWAPPED = {"XFormersAttnProcessor", "XFormersJointAttnProcessor"}
#: The denoisers of the catalogue that have nothing but these.
_SWAPPED_IN = {"PixArtTransformer2DModel", "SD3Transformer2DModel", "UNet2DConditionModel"}
#: The kernel that follows the formula step by step.
_PLAIN, _COMPILED = "native-math", "flex"
#: Where the structure of a denoiser does not tell: the width most of them have.
_USUAL_HEAD = 128


def choices(device: Device, view: ModelView | None) -> Sequence[Choice]:
    """torch picks by itself, or one kernel is fixed; each is tried out where it can be."""
    choice = ChoiceMaker(lever=name)
    return tuple(
        choice(
            id,
            backend.what,
            baseline=id == "native",
            unless=None if id == "native" else _problem(id, backend, device, view),
            fidelity=backend.fidelity,
        ).but(needs=backend.needs)
        for id, backend in BACKENDS.items()
    )


def apply(target: Target, choice: str) -> None:
    """Set the backend on every denoiser; ``native`` asks nothing of one that takes no backend.

    Processors without a backend of their own follow the last one set anywhere in the process, or
    by the environment (A7): where there are backends, ``native`` is set like any other.

    Raises:
        RuntimeError: If it is code from the hub and the owner of the machine did not allow it:
            here too, so that no recipe can bring it in (R5).
    """
    backend = BACKENDS[choice]
    problem = hub_kernels_problem() if backend.remote else None
    if problem:
        raise RuntimeError(problem)
    for denoiser in target.denoisers.values():
        swaps = _swaps(denoiser)
        if choice == "xformers" and swaps:
            target.pipe.enable_xformers_memory_efficient_attention()
        elif choice == "native" and any(_xformers(denoiser)):
            target.pipe.disable_xformers_memory_efficient_attention()
        elif choice != "native" or _backends(denoiser):
            denoiser.set_attention_backend(backend.value)


def engaged(target: Target, choice: str) -> Evidence:
    """Every processor that can carry a backend carries this one."""
    denoisers = target.denoisers.values()
    backends = sum((_backends(denoiser) for denoiser in denoisers), Counter[str]())
    swapped = [one for denoiser in denoisers for one in _xformers(denoiser)]
    deaf = "torch (they take no backend)" if not any(swapped) else "xformers"
    listed = ", ".join(f"{count} {backend}" for backend, count in sorted(backends.items()))
    detail = f"processors use: {listed or deaf}"
    if choice == "xformers" and not backends:
        return Evidence(engaged=bool(swapped) and all(swapped), detail=detail)
    wanted = {BACKENDS[choice].value}
    if choice == "native":
        return Evidence(engaged=set(backends) <= wanted and not any(swapped), detail=detail)
    return Evidence(engaged=set(backends) == wanted, detail=detail)


def code(script: Script, choice: str) -> Script:
    """A call of every denoiser, or of the pipeline where processors are swapped.

    Raises:
        Untold: If it is code from the hub and the owner of this machine did not allow it.
    """
    if choice == "native":
        return script
    backend = BACKENDS[choice]
    if backend.remote and (problem := hub_kernels_problem()):
        raise Untold(f"it {problem}")
    if choice == "xformers" and script.class_of(script.model.denoiser) in _SWAPPED_IN:
        return script.then(call("pipe.enable_xformers_memory_efficient_attention"))
    calls = (call(f"{one}.set_attention_backend", backend.value) for one in script.denoisers)
    return script.then(*calls)


def plan(plan: Plan, choice: str) -> Plan:
    """The plain formula writes all scores down as 32-bit floats, the others none.

    flex is made to be compiled; where the denoiser is not, it writes them down too.
    """
    denoiser = plan.parts.get(plan.model.denoiser)
    wide = denoiser is None or denoiser.dtype == "fp32"
    written = 1.0 if wide else 2.0
    if choice == _PLAIN:
        return plan.but(scores=written)
    return plan.but(scores_uncompiled=written) if choice == _COMPILED else plan


def _problem(id: str, backend: Backend, device: Device, view: ModelView | None) -> str | None:
    reason = device_problem(backend, device)
    if reason or view is None:
        return reason
    denoiser = view.module(view.record.denoiser)
    if not _backends(denoiser) and not (id == "xformers" and _swaps(denoiser)):
        return f"{type(denoiser).__name__} accepts an attention backend and ignores it"
    head = _head_dim(denoiser)
    if backend.head_dims and head not in backend.head_dims:
        able = " or ".join(map(str, backend.head_dims))
        return f"needs heads of {able} numbers, those of this model have {head}"
    return smoke_problem(backend.value, device, head)


def _processors(denoiser: Any) -> Iterator[Any]:
    for module in denoiser.modules():
        if getattr(module, "processor", None) is not None:
            yield module.processor


def _backends(denoiser: Any) -> Counter[str]:
    """The backends of processors that can carry one, counted; empty if none can."""
    found: Counter[str] = Counter()
    for processor in _processors(denoiser):
        if hasattr(processor, "_attention_backend"):
            backend = processor._attention_backend
            set_last = "the last set" if backend is None else backend
            found[str(getattr(set_last, "value", set_last))] += 1
    return found


def _swaps(denoiser: Any) -> bool:
    """Whether the switch for xformers replaces all processors by what computes the same."""
    kinds = {type(processor).__name__ for processor in _processors(denoiser)}
    return bool(kinds) and kinds <= _SWAPPABLE | _SWAPPED


def _xformers(denoiser: Any) -> Iterator[bool]:
    """For each processor whether it is the one of xformers."""
    return (type(processor).__name__ in _SWAPPED for processor in _processors(denoiser))


def _head_dim(denoiser: Any) -> int:
    for module in denoiser.modules():
        heads, width = getattr(module, "heads", None), getattr(module, "inner_dim", None)
        if isinstance(heads, int) and isinstance(width, int):
            return width // heads
    return _USUAL_HEAD
