"""Random weights of any size, drawn once and laid out many times, written as safetensors.

They are normal numbers at the scale of an initialisation, never zeros, which are multiplied faster
and make flat pictures. One block is drawn for each scale and repeated from a place that
differs from tensor to tensor, so that files are written as fast as the disk takes them.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from autotune.models.catalog import BYTES

#: As large as the shards that published checkpoints come in.
SHARD_BYTES = 5_000_000_000
#: The numbers of a block: more than any cache holds, drawn in a moment.
_BLOCK = 1 << 22
#: How far apart the beginnings of tensors lie in the block: prime, so that they do not repeat.
_STRIDE = 104_729
#: Around what norms and biases start from.
_SPREAD = 0.02
_NAMES = {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}
_COUNT_BYTES = 8


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """One tensor of a file."""

    name: str
    shape: tuple[int, ...]
    counts: bool = False
    """Whether it holds an integer that counts something: always zero."""

    @property
    def numbers(self) -> int:
        """How many there are."""
        return math.prod(self.shape)

    def bytes_in(self, dtype: str) -> int:
        """What it takes where weights have that format."""
        return self.numbers * (_COUNT_BYTES if self.counts else BYTES[dtype])


def tensors_of(module: Any) -> Sequence[Tensor]:
    """What a checkpoint of the module holds: each tensor once, under its first name."""
    seen: set[int] = set()
    found = []
    for name, tensor in module.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            counts = not tensor.is_floating_point()
            found.append(Tensor(name=name, shape=tuple(tensor.shape), counts=counts))
    return found


def shards_of(tensors: Sequence[Tensor], dtype: str) -> list[list[Tensor]]:
    """The tensors in order, in files of at most `SHARD_BYTES` (a larger tensor alone)."""
    shards: list[list[Tensor]] = [[]]
    filled = 0
    for tensor in tensors:
        size = tensor.bytes_in(dtype)
        if shards[-1] and filled + size > SHARD_BYTES:
            shards.append([])
            filled = 0
        shards[-1].append(tensor)
        filled += size
    return shards


def file_bytes(tensors: Sequence[Tensor], dtype: str) -> int:
    """How large the file of these tensors is."""
    return len(_header(tensors, dtype)) + sum(one.bytes_in(dtype) for one in tensors)


def write_file(path: Path, tensors: Sequence[Tensor], dtype: str) -> None:
    """Write the tensors to a file that appears when it is complete."""
    for left in path.parent.glob(f".{path.name}.*.part"):
        if _is_abandoned(left):
            left.unlink(missing_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(scratch, "wb") as file:
            file.write(_header(tensors, dtype))
            for number, tensor in enumerate(tensors):
                for piece in _drawn(tensor, dtype, number * _STRIDE):
                    file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def index_of(files: Mapping[str, Sequence[Tensor]], dtype: str) -> dict[str, Any]:
    """What stands in ``*.index.json`` beside several files."""
    total = sum(one.bytes_in(dtype) for tensors in files.values() for one in tensors)
    return {
        "metadata": {"total_size": total},
        "weight_map": {one.name: file for file, tensors in files.items() for one in tensors},
    }


def _is_abandoned(scratch: Path) -> bool:
    """Whether the process that was writing the file has ended; two may write the same."""
    try:
        os.kill(int(scratch.name.split(".")[-2]), 0)
    except (ProcessLookupError, ValueError):
        return True
    except PermissionError:
        return False
    return False


def _header(tensors: Sequence[Tensor], dtype: str) -> bytes:
    rows: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    begin = 0
    for tensor in tensors:
        end = begin + tensor.bytes_in(dtype)
        rows[tensor.name] = {
            "dtype": "I64" if tensor.counts else _NAMES[dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
        begin = end
    text = json.dumps(rows, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _drawn(tensor: Tensor, dtype: str, start: int) -> Iterator[memoryview]:
    """The tensor's bytes: the block of its scale, over and over, from its own beginning."""
    if tensor.counts:
        yield memoryview(bytes(tensor.bytes_in(dtype)))
        return
    size = BYTES[dtype]
    block = memoryview(_block(dtype, *_scale(tensor)))
    place = start % _BLOCK * size
    left = tensor.numbers * size
    while left:
        piece = block[place : place + left]
        yield piece
        left -= len(piece)
        place = 0


def _scale(tensor: Tensor) -> tuple[float, float]:
    """The middle and the spread of a tensor's numbers, as layers are initialised."""
    if len(tensor.shape) < 2:
        # Of norms, gates and biases, which alone have one dimension.
        return (0.0 if tensor.name.endswith("bias") else 1.0), _SPREAD
    if "embed" in tensor.name or "shared" in tensor.name:
        return 0.0, _SPREAD
    return 0.0, round(math.prod(tensor.shape[1:]) ** -0.5, 4)


@lru_cache(maxsize=16)
def _block(dtype: str, middle: float, spread: float) -> bytes:
    import torch

    kind = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[dtype]
    drawn = torch.randn(_BLOCK, generator=torch.Generator().manual_seed(_STRIDE))
    numbers = (drawn * spread + middle).to(kind)
    return bytes(numbers.view(torch.uint8).numpy())
