"""What a GGUF file holds, read from its header alone.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, which
differ in nothing that is read here). Every length is checked against the file before it is used.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

from autotune.errors import BadInput, shorten

MAGIC = b"GGUF"
VERSIONS = (2, 3)
#: Names and shapes take 100 bytes a tensor, of which the largest denoisers have a few thousand;
#: more would be the vocabulary of a language model.
MOST_HEADER_BYTES = 16 * 1024**2
MOST_DIMENSIONS = 8
_ALIGNMENT, _ALIGNMENT_KEY = 32, "general.alignment"

#: By the number in the file: name, numbers in a block, bytes of a block.
TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
}

#: Bytes of a value of the metadata, by the number of its kind; a string and an array have none.
_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_UINT32, _STRING, _ARRAY = 4, 8, 9


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """One tensor as the header describes it."""

    name: str
    type: str
    numbers: int
    bytes: int


def read_gguf(path: Path, *, what: str) -> tuple[Tensor, ...]:
    """Read and check the header of a GGUF file.

    Raises:
        BadInput: If it is not one, or truncated, or of a version or type that is not known.
    """
    try:
        with path.open("rb") as file:
            return tuple(_tensors(_Cursor(file, path.stat().st_size)))
    except (ValueError, OSError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise BadInput(
            f"{what} is not a whole GGUF file: {why}", hint="copy or download it again"
        ) from None


class _Cursor:
    """Reads a header from its beginning, never beyond the file or the cap."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file = file
        self.size = size
        self.place = 0

    def take(self, count: int) -> bytes:
        end = self.place + count
        if end > self.size:
            raise ValueError("it ends within its header")
        if end > MOST_HEADER_BYTES:
            raise ValueError(f"its header claims more than {MOST_HEADER_BYTES} bytes")
        self.place = end
        return self.file.read(count)

    def number(self, code: str) -> int:
        (value,) = struct.unpack(f"<{code}", self.take(struct.calcsize(code)))
        return int(value)

    def text(self) -> str:
        return self.take(self.number("Q")).decode("utf-8", "replace")


def _tensors(cursor: _Cursor) -> Iterator[Tensor]:
    if cursor.take(4) != MAGIC:
        raise ValueError("it does not begin with GGUF")
    version = cursor.number("I")
    if version not in VERSIONS:
        raise ValueError(f"it is of version {version}, known are 2 and 3")
    tensors, values = cursor.number("Q"), cursor.number("Q")
    alignment = _alignment(cursor, values)
    ends = []
    found = []
    for _ in range(tensors):
        tensor, offset = _tensor(cursor)
        if offset % alignment:
            raise ValueError(f"the place of its tensor {shorten(tensor.name)} is wrong")
        found.append(tensor)
        ends.append(offset + tensor.bytes)
    if not found:
        raise ValueError("it holds no tensors")
    missing = -(-cursor.place // alignment) * alignment + max(ends) - cursor.size
    if missing > 0:
        raise ValueError(f"{missing} bytes are missing at its end")
    yield from found


def _alignment(cursor: _Cursor, values: int) -> int:
    """Skip the metadata, of which only the alignment says how to read the file."""
    alignment = _ALIGNMENT
    for _ in range(values):
        key, kind = cursor.text(), cursor.number("I")
        if key == _ALIGNMENT_KEY and kind == _UINT32:
            alignment = cursor.number("I")
        else:
            _skip(cursor, kind)
    if alignment < 1 or alignment & (alignment - 1):
        raise ValueError(f"its alignment is {alignment}")
    return alignment


def _skip(cursor: _Cursor, kind: int) -> None:
    if kind == _STRING:
        cursor.text()
    elif kind == _ARRAY:
        of, count = cursor.number("I"), cursor.number("Q")
        if of in _SCALARS:
            cursor.take(count * _SCALARS[of])
        elif of == _STRING:
            for _ in range(count):
                cursor.text()
        else:  # nobody writes arrays of arrays, and the reader of gguf-py has no place for them
            raise ValueError(f"its metadata holds an array of kind {of}")
    elif kind in _SCALARS:
        cursor.take(_SCALARS[kind])
    else:
        raise ValueError(f"its metadata holds a value of kind {kind}")


def _tensor(cursor: _Cursor) -> tuple[Tensor, int]:
    name, dimensions = cursor.text(), cursor.number("I")
    if dimensions > MOST_DIMENSIONS:
        raise ValueError(f"its tensor {shorten(name)} has {dimensions} dimensions")
    shape = [cursor.number("Q") for _ in range(dimensions)]
    number, offset = cursor.number("I"), cursor.number("Q")
    if number not in TYPES:
        raise ValueError(f"its tensor {shorten(name)} is of type {number}, which is not known")
    type, block, size = TYPES[number]
    # The first dimension is the one that lies together, and is quantized in blocks.
    if prod(shape) == 0 or (block > 1 and (not shape or shape[0] % block)):
        raise ValueError(f"the shape of its tensor {shorten(name)} is wrong")
    numbers = prod(shape)
    return Tensor(name=name, type=type, numbers=numbers, bytes=numbers // block * size), offset
