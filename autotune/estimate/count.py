"""Count what a module does, on the meta device: operations, bytes, and the most there is at once.

Nothing is computed: every tensor is a shape.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from autotune.estimate.values import Shapes, from_values, hollow, tensors_in

_NARROW_BYTES = 2
#: Products with weights, of two activations, and convolutions, as torch names its operations.
_PRODUCTS = ("aten.mm.default", "aten.addmm.default")
_BATCHED = ("aten.bmm.default", "aten.baddbmm.default")
_CONVOLUTION = "aten.convolution.default"
#: Axes of what a convolution over three of them puts out.
_DEEP = 5
#: Makes a tensor and launches nothing.
_ROOM = ("aten.empty", "aten.new_empty")
#: A view, although torch does not say so: of what nobody else looks at.
_UNSAFE_VIEW = "aten._unsafe_view.default"
#: These do not read what they write to.
_OVERWRITES = ("aten.copy_.default", "aten.fill_", "aten.zero_.default")


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
    flat_bytes: int = 0
    deep_bytes: int = 0
    hidden: int = 0


class _Live:
    """Bytes of the storages that are alive, and the most there were."""

    def __init__(self, counted: Counted, weights: frozenset[int]) -> None:
        self._counted = counted
        self._weights = weights
        #: By storage: what tells of its end, its kind, and its bytes.
        self._there: dict[int, tuple[Any, int, int]] = {}
        self._bytes = [0, 0]

    def add(self, tensor: Any) -> None:
        """Take a tensor's storage into account, as large as it is now."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._weights:
            return
        if key in self._there:
            if self._there[key][2] == size:
                return
            self._drop(key)  # it was resized
        narrow = tensor.is_floating_point() and tensor.element_size() == _NARROW_BYTES
        kind = int(not narrow)
        self._there[key] = weakref.ref(storage, partial(self._drop, key)), kind, size
        self._bytes[kind] += size
        if sum(self._bytes) > self._counted.narrow_bytes + self._counted.other_bytes:
            self._counted.narrow_bytes, self._counted.other_bytes = self._bytes

    def _drop(self, key: int, _: Any = None) -> None:
        _, kind, size = self._there.pop(key)
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

        kwargs = kwargs or {}
        if func in (torch.tensor, torch.as_tensor) and not isinstance(args[0], torch.Tensor):
            return hollow(func(*args, **{**kwargs, "device": "cpu"}))
        if func is torch.nn.functional.scaled_dot_product_attention:
            return _attend(self._counted, *args, **kwargs)
        return func(*args, **kwargs)


def _attend(counted: Counted, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> Any:
    import torch

    scores = query.shape[:-1].numel() * key.shape[-2]
    counted.attention += 2.0 * scores * (query.shape[-1] + value.shape[-1])
    counted.scores = max(counted.scores, scores)
    # Kernels lay the result out as the query is: putting heads together then copies nothing.
    out = torch.empty_like(query)
    if query.shape[-1] != value.shape[-1]:
        out = query.new_empty((*query.shape[:-1], value.shape[-1]))
    counted.operations += 1
    counted.moved_bytes += sum(one.nbytes for one in (query, key, value, out))
    return out


class _Operations:
    """Counts everything that is more than another look at a tensor."""

    def __init__(self, counted: Counted, live: _Live, weights: frozenset[int]) -> None:
        super().__init__()  # of the mode that it is made into
        self._counted = counted
        self._live = live
        self._weights = weights
        self._shapes = Shapes()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        known, result = from_values(func, args, kwargs)
        if known:
            return result
        args, kwargs = _without_host(args, kwargs)
        name, result = str(func), self._shapes.perform(func, args, kwargs)
        if func.is_view or name == _UNSAFE_VIEW:
            return result
        written = [one for one in tensors_in((result,), {}) if one.is_meta]
        for tensor in written:
            self._live.add(tensor)
        if written and not name.startswith(_ROOM):
            read = tensors_in(args[1:] if name.startswith(_OVERWRITES) else args, kwargs)
            self._counted.operations += 1
            self._counted.moved_bytes += self._moved((*read, *written))
            self._add_flops(name, args, written[0])
        return result

    def _moved(self, tensors: tuple[Any, ...]) -> int:
        """What is read and written; a number that is seen many times is read once."""
        storages = [(one.nbytes, one.untyped_storage()) for one in tensors]
        return sum(
            min(size, storage.nbytes())
            for size, storage in storages
            if storage._cdata not in self._weights
        )

    def _add_flops(self, name: str, args: Any, out: Any) -> None:
        counted = self._counted
        if name in _PRODUCTS:
            counted.linear += 2.0 * out.numel() * args[-1].shape[0]
        elif name in _BATCHED:
            flops = 2.0 * out.numel() * args[-1].shape[-2]
            if args[-1].untyped_storage()._cdata in self._weights:
                counted.linear += flops
                return
            counted.attention += flops
            counted.scores = max(counted.scores, out.numel())
        elif name == _CONVOLUTION:
            weight, transposed = args[1], args[6]
            size = args[0].numel() // args[0].shape[1] if transposed else out.numel()
            inside = weight.numel() if transposed else weight.numel() // weight.shape[0]
            counted.convolution += 2.0 * size * inside
            moved = args[0].nbytes + out.nbytes
            if out.dim() == _DEEP:
                counted.deep_bytes = max(counted.deep_bytes, moved)
            else:
                counted.flat_bytes = max(counted.flat_bytes, moved)


def _without_host(args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Numbers stay as they are; what has come to the host by way of its values goes back."""
    import torch
    from torch.utils._pytree import tree_map_only

    if all(one.is_meta or one.dim() == 0 for one in tensors_in(args, kwargs)):
        return args, kwargs
    args, kwargs = tree_map_only(
        torch.Tensor, lambda one: hollow(one) if one.dim() else one, (args, kwargs)
    )
    return args, kwargs


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
    own = (*module.parameters(), *module.buffers())
    weights = frozenset(one.untyped_storage()._cdata for one in own)
    live = _Live(counted, weights)
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
        known, result = from_values(func, args, kwargs or {})
        return result if known else func(*args, **(kwargs or {}))


def on_host() -> Any:
    """A context in which a pipeline may copy to the host what its modules keep as buffers."""
    from torch.utils._python_dispatch import TorchDispatchMode

    return type("OnHost", (_OnHost, TorchDispatchMode), {})()


def _tensors(value: Any) -> list[Any]:
    import torch
    from torch.utils._pytree import tree_leaves

    return [one for one in tree_leaves(value) if isinstance(one, torch.Tensor)]
