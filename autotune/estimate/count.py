"""Count what a module does, on the meta device: operations, bytes, and the most there is at once.

Nothing is computed: every tensor is a shape.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

_NARROW_BYTES = 2
#: Positions, lengths and masks have values here too, since shapes may depend on them.
_MOST_VALUES = 1 << 16
_VALUES = "_autotune_values"
#: Products with weights, of two activations, and convolutions, as torch names its operations.
_PRODUCTS = ("aten.mm.default", "aten.addmm.default")
_BATCHED = ("aten.bmm.default", "aten.baddbmm.default")
_CONVOLUTION = "aten.convolution.default"
_READ_VALUE, _COPY = "aten._local_scalar_dense.default", "aten._to_copy.default"


@dataclass(kw_only=True)
class Counted:
    """What was counted. Bytes at the worst moment are those of 16-bit floats, and all others."""

    linear: float = 0.0
    convolution: float = 0.0
    attention: float = 0.0
    moved_bytes: float = 0.0
    operations: int = 0
    narrow_bytes: int = 0
    other_bytes: int = 0
    scores: int = 0
    widest_convolution: int = 0
    convolution_axes: int = 0
    hidden: int = 0


class _Live:
    """Bytes of the storages that are alive, and the most there were."""

    def __init__(self, counted: Counted, weights: set[int]) -> None:
        self._counted = counted
        self._known = weights
        self._bytes = [0, 0]

    def add(self, tensor: Any) -> None:
        """Take a tensor's storage into account, unless it is known."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        narrow = tensor.is_floating_point() and tensor.element_size() == _NARROW_BYTES
        size, kind = storage.nbytes(), int(not narrow)
        self._bytes[kind] += size
        weakref.finalize(storage, self._drop, key, kind, size)
        if sum(self._bytes) > self._counted.narrow_bytes + self._counted.other_bytes:
            self._counted.narrow_bytes, self._counted.other_bytes = self._bytes

    def _drop(self, key: int, kind: int, size: int) -> None:
        self._known.discard(key)
        self._bytes[kind] -= size


class _Functions:
    """Attention as one operation that writes no scores, whatever a CPU or a card would do.

    And tensors that are made of numbers, which remember them.
    """

    def __init__(self, counted: Counted) -> None:
        super().__init__()  # of the mode that it is made into
        self._counted = counted

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        import torch

        if func is torch.tensor:
            return hollow(func(*args, **{**(kwargs or {}), "device": "cpu"}))
        if func is not torch.nn.functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        query, key, value = (*args, *(kwargs or {}).values())[:3]
        rows, columns = query.shape[-2], key.shape[-2]
        heads = query.shape[:-2].numel()
        self._counted.attention += (
            2.0 * heads * rows * columns * (query.shape[-1] + value.shape[-1])
        )
        self._counted.scores = max(self._counted.scores, heads * rows * columns)
        return query.new_empty((*query.shape[:-1], value.shape[-1]))


class _Operations:
    """Counts everything that is more than another look at a tensor."""

    def __init__(self, counted: Counted, live: _Live, weights: set[int]) -> None:
        super().__init__()  # of the mode that it is made into
        self._counted = counted
        self._live = live
        self._weights = frozenset(weights)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        from torch.utils._pytree import tree_map

        kwargs = kwargs or {}
        known, result = _from_values(func, args, kwargs)
        if known:
            return result
        args, kwargs = tree_map(_hollow, (args, kwargs))
        result = _remembering(func, args, kwargs)
        written = _tensors(result)
        if func.is_view or not written:
            return result
        read = _tensors((args, kwargs))
        for tensor in written:
            self._live.add(tensor)
        counted = self._counted
        counted.operations += 1
        counted.moved_bytes += sum(
            one.nbytes
            for one in (*read, *written)
            if one.untyped_storage()._cdata not in self._weights
        )
        self._add_flops(func, args, written[0])
        return result

    def _add_flops(self, func: Any, args: Any, out: Any) -> None:
        counted, name = self._counted, str(func)
        if name in _PRODUCTS:
            counted.linear += 2.0 * out.numel() * args[-1].shape[0]
        elif name in _BATCHED:
            counted.attention += 2.0 * out.numel() * args[-1].shape[-2]
            counted.scores = max(counted.scores, out.numel())
        elif name == _CONVOLUTION:
            weight, transposed = args[1], args[6]
            size = args[0].numel() // args[0].shape[1] if transposed else out.numel()
            inside = weight.numel() if transposed else weight.numel() // weight.shape[0]
            counted.convolution += 2.0 * size * inside
            if args[0].nbytes + out.nbytes > counted.widest_convolution:
                counted.widest_convolution = args[0].nbytes + out.nbytes
                counted.convolution_axes = out.dim() - 2


def hollow(value: Any) -> Any:
    """A tensor on the meta device; a short one of whole numbers remembers its values."""
    import torch

    if not isinstance(value, torch.Tensor):
        return value
    found = value.to("meta")
    if not value.is_floating_point() and value.numel() <= _MOST_VALUES:
        setattr(found, _VALUES, value)
    return found


def _hollow(value: Any) -> Any:
    """Numbers stay as they are; what has come to the host by way of its values goes back."""
    import torch

    alone = not isinstance(value, torch.Tensor) or value.is_meta or value.dim() == 0
    return value if alone else hollow(value)


def _from_values(func: Any, args: Any, kwargs: dict[str, Any]) -> tuple[bool, Any]:
    """What a model reads from a tensor: its values, or what is likely where there are none.

    Masks are whole and flags are set: nearly always it asks whether a mask can be left out.
    """
    import torch

    if str(func) == _READ_VALUE and args[0].is_meta:
        values = getattr(args[0], _VALUES, None)
        return True, 1 if values is None else values.item()
    to_host = str(func) == _COPY and str(kwargs.get("device")) == "cpu"
    if to_host and args[0].is_meta:
        values = getattr(args[0], _VALUES, None)
        dtype = kwargs.get("dtype") or args[0].dtype
        return True, torch.zeros(args[0].shape, dtype=dtype) if values is None else values.to(
            dtype
        )
    return False, None


def _remembering(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The operation on shapes; on values too, where all of its inputs have them."""
    import torch

    real = _on_values(func, args, kwargs)
    if real is None:
        return func(*args, **kwargs)
    try:
        result = func(*args, **kwargs)
    except NotImplementedError:  # its shape depends on its values
        return hollow(real)
    if isinstance(result, torch.Tensor):
        setattr(result, _VALUES, real)
    return result


def _on_values(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    import torch
    from torch.utils._pytree import tree_map

    tensors = _tensors((args, kwargs))
    if func._schema.is_mutable or not all(hasattr(one, _VALUES) for one in tensors):
        for one in tensors if func._schema.is_mutable else ():
            vars(one).pop(_VALUES, None)
        return None
    if not tensors and str(kwargs.get("device")) != "meta":
        return None
    args, kwargs = tree_map(lambda one: getattr(one, _VALUES, one), (args, kwargs))
    if "device" in kwargs:
        kwargs["device"] = torch.device("cpu")
    real = func(*args, **kwargs)
    if not isinstance(real, torch.Tensor) or real.is_meta or real.is_floating_point():
        return None
    return real if real.numel() <= _MOST_VALUES else None


@contextmanager
def _without_autocast() -> Iterator[None]:
    """Mochi asks for autocasting on its input's device, and there is none on meta."""
    import torch

    real: Any = torch.autocast

    def autocast(device_type: str, *arguments: Any, **named: Any) -> Any:
        if device_type == "meta":
            return nullcontext()
        return real(device_type, *arguments, **named)

    torch.autocast = autocast
    try:
        yield
    finally:
        torch.autocast = real


def count(
    module: Any,
    call: Callable[..., Any],
    inputs: tuple[Any, dict[str, Any]],
    blocks: Mapping[str, Any],
) -> tuple[Counted, Any]:
    """Make one call of a module on the meta device, and count it.

    Args:
        module: The module, whose weights are not counted among what lies in memory.
        call: What of it is called.
        inputs: Positional and named arguments, on the meta device; they are counted.
        blocks: Of the module, those whose outputs are measured.
    """
    import torch
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode

    counted = Counted()
    weights = {one.untyped_storage()._cdata for one in (*module.parameters(), *module.buffers())}
    known = set(weights)
    live = _Live(counted, known)
    for tensor in _tensors(inputs):
        live.add(tensor)
    arguments, named = inputs
    functions = type("Functions", (_Functions, TorchFunctionMode), {})
    operations = type("Operations", (_Operations, TorchDispatchMode), {})
    with (
        _outputs_noted(blocks, counted),
        _without_autocast(),
        torch.no_grad(),
        functions(counted),
        operations(counted, live, weights),
    ):
        result = call(*arguments, **named)
    return counted, result


@contextmanager
def _outputs_noted(blocks: Mapping[str, Any], counted: Counted) -> Iterator[None]:
    def note(_: Any, __: Any, output: Any) -> None:
        counted.hidden = max(counted.hidden, sum(one.numel() for one in _tensors(output)))

    hooks = [block.register_forward_hook(note) for block in blocks.values()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class _OnHost:
    """Answers what is read from a buffer on the meta device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        known, result = _from_values(func, args, kwargs or {})
        return result if known else func(*args, **(kwargs or {}))


def on_host() -> Any:
    """A context in which a pipeline may copy to the host what its modules keep as buffers."""
    from torch.utils._python_dispatch import TorchDispatchMode

    return type("OnHost", (_OnHost, TorchDispatchMode), {})()


def _tensors(value: Any) -> list[Any]:
    import torch
    from torch.utils._pytree import tree_leaves

    return [one for one in tree_leaves(value) if isinstance(one, torch.Tensor)]
