"""Whole numbers on the meta device that remember their values: shapes may depend on them.

Positions, lengths and masks are made of numbers that a model reads back. Here they go along with
the shapes, through every operation that is made of nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

#: A row of text has a few hundred tokens. Larger ones are pixels, and pixels are never read.
_MOST_VALUES = 1 << 16
_VALUES = "_autotune_values"
_READ_VALUE, _COPY = "aten._local_scalar_dense.default", "aten._to_copy.default"
_NONZERO, _INDEX = "aten.nonzero.default", "aten.index.Tensor"
_SELECTED = "aten.masked_select.default"


def hollow(value: Any) -> Any:
    """A tensor on the meta device; a short one of whole numbers remembers its values."""
    import torch

    if not isinstance(value, torch.Tensor) or value.is_meta:
        return value
    found = value.to("meta")
    if not value.is_floating_point() and value.numel() <= _MOST_VALUES:
        setattr(found, _VALUES, value.clone())  # what is written to it is not the caller's
    return found


def tensors_in(args: Iterable[Any], kwargs: dict[str, Any]) -> list[Any]:
    """The tensors among an operation's arguments: one level of lists is all there is."""
    import torch

    found = []
    for one in (*args, *kwargs.values()):
        if isinstance(one, torch.Tensor):
            found.append(one)
        elif isinstance(one, list | tuple):
            found += [inner for inner in one if isinstance(inner, torch.Tensor)]
    return found


def from_values(func: Any, args: Any, kwargs: dict[str, Any]) -> tuple[bool, Any]:
    """What a model reads from a tensor: its values, or what is likely where there are none.

    Masks are whole and flags are set: nearly always it asks whether a mask can be left out.
    """
    import torch

    name = str(func)
    if name not in (_READ_VALUE, _COPY) or not args[0].is_meta:
        return False, None
    source, values = args[0], _values_of(args[0])
    if name == _READ_VALUE:
        return True, 1 if values is None else values.item()
    if str(kwargs.get("device")) != "cpu":
        return False, None
    dtype = kwargs.get("dtype") or source.dtype
    if values is not None:
        return True, values.to(dtype, copy=True)
    likely = 0 if source.is_floating_point() else 1
    return True, torch.full((), likely, dtype=dtype).expand(source.shape).contiguous()


class Shapes:
    """Operations on shapes; on values too, where all of the inputs have them.

    Blocks repeat: what comes of a shape is asked of torch once, for it thinks in Python.
    """

    def __init__(self) -> None:
        self._seen: dict[Any, Any] = {}

    def perform(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """The operation's result, on the meta device."""
        name = str(func)
        if name in (_NONZERO, _SELECTED):
            return _chosen(name, *args)
        if name == _INDEX:
            args = args[0], [part for one in args[1] for part in _positions(one)]
        inputs = tensors_in(args, kwargs)
        known = all(_values_of(one) is not None for one in inputs)
        known = known and bool(inputs or str(kwargs.get("device")) == "meta")
        if not known:
            if func._schema.is_mutable:
                _forget(inputs[:1])
            return self._seen_before(func, args, kwargs)
        try:
            result = func(*args, **kwargs)
        except RuntimeError:  # its shape depends on its values
            result = None
        if result is not None and not _is_short(result):
            return result
        return _remember(result, _on_values(func, args, kwargs))

    def _seen_before(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        import torch

        if func._schema.is_mutable or func.is_view or func.namespace != "aten":
            return func(*args, **kwargs)
        key = func, _key_of(args), _key_of(tuple(kwargs.items()))
        if key not in self._seen:
            result = func(*args, **kwargs)
            plain = isinstance(result, torch.Tensor) and result.is_meta
            plain = plain and not _is_part_of(result, args)
            self._seen[key] = (*_key_of(result)[1:], result.dtype) if plain else None
            return result
        found = self._seen[key]
        if found is None:
            return func(*args, **kwargs)
        shape, stride, dtype = found[0], found[1], found[-1]
        return torch.empty_strided(shape, stride, dtype=dtype, device="meta")


def _key_of(value: Any) -> Any:
    """What an operation's result can depend on; numbers with their kind, since 1 equals 1.0."""
    import torch

    if isinstance(value, torch.Tensor):
        return "tensor", value.shape, value.stride(), value.dtype, value.device.type
    if isinstance(value, list | tuple):
        return tuple(_key_of(one) for one in value)
    return type(value), value


def _is_part_of(result: Any, args: Any) -> bool:
    own = result.untyped_storage()._cdata
    return any(one.untyped_storage()._cdata == own for one in tensors_in(args, {}))


def _values_of(tensor: Any) -> Any:
    values = getattr(tensor, _VALUES, None)
    forgotten = values is not None and values.numel() and not values.untyped_storage().nbytes()
    return None if forgotten else values


def _forget(written: Iterable[Any]) -> None:
    """Nothing is known of a tensor any more, nor of those that look at the same numbers."""
    for one in written:
        values = _values_of(one)
        if values is not None:
            values.untyped_storage().resize_(0)


def _on_values(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    import torch
    from torch.utils._pytree import tree_map_only

    args, kwargs = tree_map_only(torch.Tensor, _values_of, (args, dict(kwargs)))
    if "device" in kwargs:
        kwargs["device"] = torch.device("cpu")
    return func(*args, **kwargs)


def _remember(result: Any, real: Any) -> Any:
    """The result with its values; where it could not be made without them, made of them."""
    import torch
    from torch.utils._pytree import tree_map

    if result is None:
        return tree_map(hollow, real)
    several = isinstance(result, list | tuple)
    for one, values in zip(result, real, strict=True) if several else ((result, real),):
        if isinstance(values, torch.Tensor) and not values.is_floating_point():
            setattr(one, _VALUES, values)
    return result


def _is_short(result: Any) -> bool:
    """Whether it is worth its values: of floats and of large tensors nobody asks for them."""
    return all(
        one.numel() <= _MOST_VALUES and not one.is_floating_point()
        for one in tensors_in((result,), {})
    )


def _chosen(name: str, tensor: Any, mask: Any = None) -> Any:
    """What a mask selects, or where it is set. Without values it is set everywhere."""
    import torch

    if name == _NONZERO:
        return _where(tensor)
    every = torch.broadcast_shapes(tensor.shape, mask.shape).numel()
    return tensor.new_empty(_where(mask).shape[0] * every // max(1, mask.numel()))


def _where(mask: Any) -> Any:
    import torch

    values = _values_of(mask)
    if values is not None:
        return hollow(values.nonzero())
    return torch.empty((mask.numel(), mask.dim()), dtype=torch.int64, device="meta")


def _positions(index: Any) -> tuple[Any, ...]:
    """An index as the positions that it means: a mask means as many as it has axes."""
    import torch

    if index is None or index.dtype not in (torch.bool, torch.uint8):
        return (index,)
    return tuple(_remembered_columns(_where(index)))


def _remembered_columns(table: Any) -> list[Any]:
    values = _values_of(table)
    columns = list(table.unbind(1))
    if values is not None:
        for column, own in zip(columns, values.unbind(1), strict=True):
            setattr(column, _VALUES, own)
    return columns
