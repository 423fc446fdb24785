"""The tensors a module is really made of, down to those inside quantized weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def stored_bytes(module: Any) -> int:
    """Bytes of everything a module holds, as it lies in memory.

    Quantized weights of torchao and quanto give out the shape and format of what they stand for,
    and bitsandbytes keeps the scales beside its parameters (levers.md A3.4).
    """
    return sum(tensor.numel() * tensor.element_size() for _, tensor in plain_tensors(module))


def plain_tensors(module: Any) -> Iterator[tuple[str, Any]]:
    """Every tensor of a module by name, those inside tensor subclasses and beside them too."""
    for named in (module.named_parameters(), module.named_buffers()):
        for name, tensor in named:
            yield from _inside(name, tensor)
            yield from _beside(name, tensor)
    for name, part in module.named_modules():
        # The first call of an 8-bit layer takes the scales from its weight.
        scales = getattr(getattr(part, "state", None), "SCB", None)
        if scales is not None and getattr(part.weight, "SCB", None) is None:
            yield f"{name}.weight.SCB", scales


def _inside(name: str, tensor: Any) -> Iterator[tuple[str, Any]]:
    if not hasattr(tensor, "__tensor_flatten__"):
        yield name, tensor
        return
    for attribute in tensor.__tensor_flatten__()[0]:
        yield from _inside(f"{name}.{attribute}", getattr(tensor, attribute))


def _beside(name: str, tensor: Any) -> Iterator[tuple[str, Any]]:
    """What bitsandbytes hangs on a parameter: the scales, and tables for unpacking."""
    state = getattr(tensor, "quant_state", None)
    while state is not None:
        for attribute in ("absmax", "code", "offset"):
            found = getattr(state, attribute, None)
            if hasattr(found, "element_size"):
                yield f"{name}.{attribute}", found
        name, state = f"{name}.nested", getattr(state, "state2", None)
    scales = getattr(tensor, "SCB", None)
    if scales is not None:
        yield f"{name}.SCB", scales
