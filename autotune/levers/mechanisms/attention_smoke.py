"""Run an attention backend once, on the device, before it is offered.

A package, a device and a version may all be right and the kernel fail all the same: built for
another torch, without code for this card, or not in the cache of an offline machine.
"""

from __future__ import annotations

from functools import cache

from autotune.levers.mechanisms.torch_names import torch_device
from autotune.records import Device

#: Enough for whole tiles of every kernel, too little to notice.
_TOKENS, _HEADS = 128, 2


def smoke_problem(backend: str, device: Device, head_dim: int) -> str | None:
    """Why the backend fails here; ``None`` if it works, or if torch does not see the device."""
    return _problem(backend, torch_device(device), head_dim) if _is_here(device) else None


@cache
def _problem(backend: str, place: str, head_dim: int) -> str | None:
    """Once per process, one that is thrown away: a CUDA error may break the device for it."""
    import torch
    from diffusers import attention_backend
    from diffusers.models.attention_dispatch import dispatch_attention_fn

    try:
        query, key, value = torch.randn(
            3, 1, _TOKENS, _HEADS, head_dim, dtype=torch.bfloat16, device=place
        )
        with torch.no_grad(), attention_backend(backend):
            finite = bool(dispatch_attention_fn(query, key, value).isfinite().all())
    except Exception as error:
        lines = str(error).strip().splitlines()
        said = lines[0].strip().rstrip(".") if lines else "without a word"
        return f"it fails here: {type(error).__name__}: {said}"
    return None if finite else "it fails here: the result is not finite"


def _is_here(device: Device) -> bool:
    """Whether torch can use a device of that kind in this process."""
    import torch

    if device.kind in ("cuda", "rocm"):
        is_rocm = torch.version.hip is not None
        return bool(torch.cuda.is_available()) and is_rocm is (device.kind == "rocm")
    if device.kind == "xpu":
        return bool(torch.xpu.is_available())
    return device.kind == "cpu" or bool(torch.backends.mps.is_available())
