"""Bytes that the weights of a component take: arithmetic on a list of them, without torch.

What each quantizer makes of a Linear was read in the installed packages (bitsandbytes 0.50.2,
torchao 0.18.0, optimum-quanto 0.2.7, sdnq 0.2.8) and is held against `stored_bytes` of really
quantized modules by the tests: equal to the byte. What needs a card is by formula alone.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod

from autotune.estimate.profile import Tensors, Weights
from autotune.levers.mechanisms.quantizers import QUANTIZERS
from autotune.levers.plan import Part

_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
_FP32 = 4
#: Of a weight that lies in 8 bits and is cast up to compute.
_CAST_BYTES = 1


@dataclass(frozen=True, kw_only=True)
class Format:
    """What a quantizer makes of the weight of a Linear with so many rows and columns.

    Args:
        bits: Of a number.
        groups: How many groups of numbers have scales of their own, by rows and columns.
        scale_bytes: Of the scales of a group, whatever is computed in.
        scales: Of a group, in the format that is computed in.
        fixed_bytes: Of what comes once a Linear.
        fixed: Numbers that come once a Linear: in the format that is computed in where diffusers
            loads it, 32-bit ones where transformers does.
        step: Rows and columns are filled up to multiples of these.
        paired: Bytes are shared by two groups, the last of an odd number by none.
        beside: Bytes a number that unpacking takes beside the packed weight at the worst moment,
            uncompiled, on a card: where 16 bits are computed in, and where 32 are.
        taken_whole: A format to compute in and the length of groups with which a kernel takes the
            weight as it lies.
    """

    bits: int
    groups: Callable[[int, int], int]
    scale_bytes: int = 0
    scales: int = 0
    fixed_bytes: int = 0
    fixed: int = 0
    step: tuple[int, int] = (1, 1)
    paired: bool = False
    beside: tuple[int, int] = (0, 0)
    taken_whole: tuple[str, int] | None = None

    def packed(self, shape: tuple[int, ...], number_bytes: int, library: str) -> int:
        """Bytes of a weight of that shape, where numbers computed in take so many."""
        rows, columns = (
            -(-size // step) * step for size, step in zip(shape, self.step, strict=True)
        )
        groups, numbers = self.groups(rows, columns), rows * columns
        if self.paired and groups % 2:
            numbers += numbers // groups
        scales = groups * (self.scale_bytes + self.scales * number_bytes)
        once = self.fixed * (_FP32 if library == "transformers" else number_bytes)
        return -(-numbers * self.bits // 8) + scales + self.fixed_bytes + once

    def unpacked(self, shape: tuple[int, ...], dtype: str) -> int:
        """Bytes beside the packed weight while it is computed with."""
        rows, columns = shape
        if self.taken_whole == (dtype, rows * columns // self.groups(rows, columns)):
            return 0
        return rows * columns * self.beside[dtype == "fp32"]


def _a_row(rows: int, columns: int) -> int:
    return rows


def _one(rows: int, columns: int) -> int:
    return 1


def _in_line(size: int) -> Callable[[int, int], int]:
    """Groups of numbers as they follow each other, rows or not."""
    return lambda rows, columns: -(-rows * columns // size)


def _of_rows(size: int) -> Callable[[int, int], int]:
    """Groups of a row's numbers, which divide it."""
    return lambda rows, columns: rows * (columns // size)


def _quanto(rows: int, columns: int) -> int:
    """Groups of 128, or of 96, 64 or 32 where those divide a longer row; or the row as a whole.

    optimum-quanto 0.2.7, nn/qmodule.py.
    """
    fitting = (size for size in (128, 96, 64, 32) if columns > 128 and columns % size == 0)
    return rows * columns // next(fitting, columns)


def _sdnq(size: int) -> Callable[[int, int], int]:
    """The most groups, not longer than that, that divide a row (sdnq 0.2.8, quantizer.py)."""

    def groups(rows: int, columns: int) -> int:
        length, number = size, columns // size
        while number > 1 and number * length != columns:
            number -= 1
            length = columns // max(number, 1)
        return rows * max(number, 1)

    return groups


def _sdnq_products(rows: int, columns: int) -> int:
    """One for a row where integer products are allowed (sdnq 0.2.8, utils.py), or as without."""
    allowed = min(rows, columns) >= 32 and rows % 16 == columns % 16 == 0
    return rows if allowed else _sdnq(1024)(rows, columns)


#: One copy in what is computed in.
_ONE_COPY = (2, 4)
#: Blocks of 64 with a scale, and a table of 16 numbers (functional.py). With more tokens than a
#: prompt has, the weight is unpacked and multiplied (backends/cuda/ops.py).
_BNB_4BIT = Format(
    bits=4, groups=_in_line(64), scale_bytes=4, fixed_bytes=16 * 4, beside=_ONE_COPY
)
#: A scale and, though it is nought, a zero point of 8 bits (workflows/int8/int8_tensor.py).
_INT8_SCALE_BYTES = 4 + 1
#: ``input_scale`` and ``output_scale`` beside the weight (nn/qmodule.py), which transformers makes
#: anew (integrations/quanto.py).
_QUANTO_FIXED = 2

#: ``beside`` was seen on a CPU where a comment says so, and is read from the source elsewhere.
FORMATS: Mapping[str, Format] = {
    "bnb-nf4": _BNB_4BIT,
    "bnb-fp4": _BNB_4BIT,
    # SCB. Integers are multiplied, and the few columns of outliers (autograd/_functions.py).
    "bnb-int8": Format(bits=8, groups=_a_row, scale_bytes=4),
    # Multiplied as what is computed in (int8_tensor.py, ``w_vals_int8_t.to``; seen).
    "torchao-int8wo": Format(
        bits=8, groups=_a_row, scale_bytes=_INT8_SCALE_BYTES, beside=_ONE_COPY
    ),
    # Transposed for the product, as 8 bits (kernel/intmm.py, ``mat2.contiguous``).
    "torchao-int8dq": Format(bits=8, groups=_a_row, scale_bytes=_INT8_SCALE_BYTES, beside=(1, 1)),
    # Scale and zero in bf16; columns filled up to 1024, rows to 8, which the kernel takes as it is
    # (workflows/int4/int4_tile_packed_to_4d_tensor.py).
    "torchao-int4wo": Format(bits=4, groups=_of_rows(128), scale_bytes=2 * 2, step=(8, 1024)),
    # Through fp32: cast up, times the scale, cast down, and the first two are still there then
    # (quant_primitives.py, _dequantize_affine_float8; seen).
    "torchao-fp8wo": Format(bits=8, groups=_a_row, scale_bytes=4, beside=(10, 8)),
    "torchao-fp8dq": Format(bits=8, groups=_a_row, scale_bytes=4),
    "torchao-fp8dq-tensor": Format(bits=8, groups=_one, scale_bytes=4),
    # Times the scale, in what is computed in (library/qbytes_mm.py); fp8 is cast first (seen).
    "quanto-int8": Format(bits=8, groups=_a_row, scales=1, fixed=_QUANTO_FIXED, beside=_ONE_COPY),
    "quanto-fp8": Format(bits=8, groups=_a_row, scales=1, fixed=_QUANTO_FIXED, beside=(4, 8)),
    # Scale and shift. What no kernel takes is a byte, then a number, then that times the scale at
    # once (tensor/weights/qbits.py; seen in fp32); tinygemm takes it in bf16.
    "quanto-int4": Format(
        bits=4,
        groups=_quanto,
        scales=2,
        fixed=_QUANTO_FIXED,
        paired=True,
        beside=(5, 9),
        taken_whole=("bf16", 128),
    ),
    # Scales stay fp32. SDNQ compiles the unpacking to one kernel wherever there is triton; without
    # it takes 6 and 4 bytes a number, and 9 of 4 bits (dequantizer.py; seen).
    "sdnq-int8": Format(bits=8, groups=_sdnq(1024), scale_bytes=4, beside=_ONE_COPY),
    "sdnq-uint4": Format(bits=4, groups=_sdnq(64), scale_bytes=4 + 4, beside=_ONE_COPY),
    "sdnq-int8-matmul": Format(bits=8, groups=_sdnq_products, scale_bytes=4),
    # A scale a tensor. Nobody could look at it here: it clashes with transformers (levers.md A0).
    "modelopt-fp8": Format(bits=8, groups=_one, scale_bytes=4, beside=_ONE_COPY),
}


@dataclass(frozen=True, kw_only=True)
class _Lying:
    """A component's weights as they lie."""

    total: int
    blocks: tuple[tuple[int, int], ...]
    rest: int
    largest: int
    unpacked: int
    copied: int
    """The largest weight that is unpacked, in what is computed in."""
    fused: int


def part_bytes(weights: Weights, part: Part) -> int:
    """All of a component's weights as they lie, without what fusing adds."""
    return _lying(weights, part).total


def block_bytes(weights: Weights, part: Part) -> list[tuple[int, int]]:
    """How many equal blocks there are, and what one of them takes; in the component's order."""
    return list(_lying(weights, part).blocks)


def rest_bytes(weights: Weights, part: Part) -> int:
    """What is in no block."""
    return _lying(weights, part).rest


def largest_layer(weights: Weights, part: Part) -> int:
    """The largest single weight as it lies; its bias not counted."""
    return _lying(weights, part).largest


def unpacked_bytes(weights: Weights, part: Part, *, compiled: bool = False) -> int:
    """What computing with packed or cast weights needs beside them at the worst moment.

    Args:
        weights: The component's.
        part: How they lie.
        compiled: Whether the component runs as compiled code, which unpacks in one kernel: to a
            copy in what is computed in, at most (seen with torchao's fp8, on a CPU).
    """
    found = _lying(weights, part)
    return min(found.unpacked, found.copied) if compiled else found.unpacked


def fused_bytes(weights: Weights, part: Part) -> int:
    """What fusing query, key and value adds; quantized ones are not fused (levers.md B33)."""
    return _lying(weights, part).fused


#: What was added up, by the identity of the list, for as long as that lives: to hash a whole list
#: takes longer than to add it up.
_known: dict[int, dict[tuple[object, ...], _Lying]] = {}


def _lying(weights: Weights, part: Part) -> _Lying:
    known = _known.get(id(weights))
    if known is None:
        known = _known[id(weights)] = {}
        weakref.finalize(weights, _known.pop, id(weights), None)
    key = (part.dtype, part.quantizer, part.cast, part.file_bytes)
    found = known.get(key)
    if found is None:
        plain = _added_up(weights, part)
        found = plain if part.file_bytes is None else _as_filed(plain, part.file_bytes)
        known[key] = found
    return found


def _added_up(weights: Weights, part: Part) -> _Lying:
    def lies(row: Tensors) -> int:
        return _lies(row, part, weights.library)

    def all_of(rows: Iterable[Tensors]) -> int:
        return sum(row.count * lies(row) for row in rows)

    blocks = tuple((block.count, all_of(block.tensors)) for block in weights.blocks)
    rest = all_of(weights.rest)
    every = [*weights.rest, *(row for block in weights.blocks for row in block.tensors)]
    return _Lying(
        total=rest + sum(count * size for count, size in blocks),
        blocks=blocks,
        rest=rest,
        largest=max(map(lies, every), default=0),
        unpacked=max((_on_top(row, part) for row in every), default=0),
        copied=max(
            (prod(row.shape) * _BYTES[part.dtype] for row in every if _on_top(row, part)),
            default=0,
        ),
        fused=all_of(weights.fused),
    )


def _as_filed(plain: _Lying, file_bytes: int) -> _Lying:
    """The same in the proportions of what the file takes: it does not say which weights shrank."""
    share = file_bytes / max(plain.total, 1)
    blocks = tuple((count, int(size * share)) for count, size in plain.blocks)
    return _Lying(
        total=file_bytes,
        blocks=blocks,
        rest=file_bytes - sum(count * size for count, size in blocks),
        largest=int(plain.largest * share),
        # A packed weight is unpacked to what is computed in (diffusers, quantizers/gguf/utils.py).
        unpacked=plain.largest if file_bytes < plain.total else 0,
        copied=plain.largest,
        fused=plain.fused,
    )


def _lies(row: Tensors, part: Part, library: str) -> int:
    """Bytes of one of these weights."""
    if _is_converted(row, part):
        format = FORMATS[part.quantizer or ""]
        return format.packed(row.shape, _BYTES[part.dtype], library)
    is_cast = part.cast and "casting" not in row.whole
    return prod(row.shape) * (_CAST_BYTES if is_cast else _number_bytes(row, part))


def _on_top(row: Tensors, part: Part) -> int:
    """Bytes beside one of these weights while it is computed with."""
    if _is_converted(row, part):
        return FORMATS[part.quantizer or ""].unpacked(row.shape, part.dtype)
    if part.cast and "casting" not in row.whole:
        return prod(row.shape) * _number_bytes(row, part)
    return 0


def _number_bytes(row: Tensors, part: Part) -> int:
    if row.number_bytes is not None:
        return row.number_bytes
    return _FP32 if part.dtype in row.fp32 else _BYTES[part.dtype]


def _is_converted(row: Tensors, part: Part) -> bool:
    if part.quantizer is None or row.kind != "linear":
        return False
    quantizer = QUANTIZERS[part.quantizer]
    wide, tall = quantizer.step
    rows, columns = row.shape
    return (
        quantizer.package.partition(">")[0] not in row.whole
        and columns % wide == 0
        and rows % tall == 0
        and rows * columns >= quantizer.least
    )
