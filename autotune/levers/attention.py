"""attention: which kernel of torch's scaled-dot-product attention the denoiser uses.

The backend is set on the model, not on single modules, and only denoisers whose processors
carry ``_attention_backend`` obey it: on the others the call succeeds and does nothing (A7).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autotune.levers.base import ChoiceMaker, ModelView, Target
from autotune.records import Choice, Device, Evidence, Stage

name = "attention"
what = "attention kernel of the denoiser"
stage = Stage.BUILD

_BACKEND = {
    "native": "native",
    "native-flash": "_native_flash",
    "native-efficient": "_native_efficient",
    "native-cudnn": "_native_cudnn",
    "native-math": "_native_math",
}


def choices(device: Device, view: ModelView | None) -> Sequence[Choice]:
    """torch picks by itself, or one kernel is fixed."""
    choice = ChoiceMaker(lever=name)
    deaf = _deaf(view) if view else None
    on_gpu = device.kind in ("cuda", "rocm")
    needs_gpu = None if on_gpu else f"needs a CUDA device, this is {device.kind}"
    needs_nvidia = None if device.kind == "cuda" else f"needs an NVIDIA GPU, not {device.kind}"
    return (
        choice("native", "torch picks the kernel", baseline=True),
        choice("native-flash", "torch's flash attention", unless=deaf),
        choice("native-efficient", "torch's memory-efficient attention", unless=needs_gpu or deaf),
        choice("native-cudnn", "cuDNN attention", unless=needs_nvidia or deaf),
        choice("native-math", "plain matrix products", unless=deaf),
    )


def apply(target: Target, choice: str) -> None:
    """Set the backend on the denoiser; ``native`` asks nothing of one that takes no backend.

    Processors without a backend of their own follow the last one set anywhere in the process, or
    by the environment (A7): where there are backends, ``native`` is set like any other.
    """
    if choice == "native" and not _backends(target.denoiser):
        return
    target.denoiser.set_attention_backend(_BACKEND[choice])


def engaged(target: Target, choice: str) -> Evidence:
    """Every processor that can carry a backend carries this one."""
    backends = _backends(target.denoiser)
    listed = ", ".join(sorted(str(backend or "the last set") for backend in backends))
    detail = f"processors use: {listed or 'torch (they take no backend)'}"
    if choice == "native":
        return Evidence(engaged=backends <= {"native"}, detail=detail)
    return Evidence(engaged=backends == {_BACKEND[choice]}, detail=detail)


def _deaf(view: ModelView) -> str | None:
    denoiser = view.module(view.record.denoiser)
    if _backends(denoiser):
        return None
    return f"{type(denoiser).__name__} accepts an attention backend and ignores it"


def _backends(denoiser: Any) -> set[str | None]:
    """The backends set on processors that can carry one; empty if none can."""
    found: set[str | None] = set()
    for module in denoiser.modules():
        processor = getattr(module, "processor", None)
        if processor is not None and hasattr(processor, "_attention_backend"):
            backend = processor._attention_backend
            found.add(None if backend is None else str(getattr(backend, "value", backend)))
    return found
