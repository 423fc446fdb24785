"""Random weights against one buffer written over and over: how near a skeleton is to the disk.

python tests/benchmarks/skeleton.py [GIB] [ROUNDS]
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from autotune.models.skeleton.weights import Tensor, file_bytes, write_file

#: Like Flux's: a matrix of 3072 by 12288, 75 MB in bf16.
SHAPE = (3072, 12288)


def main(gib: float = 2.0, rounds: int = 5) -> None:
    count = max(1, round(gib * 2**30 / (SHAPE[0] * SHAPE[1] * 2)))
    tensors = [Tensor(name=f"blocks.{n}.weight", shape=SHAPE) for n in range(count)]
    size = file_bytes(tensors, "bf16")
    drawn, plain = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        write_file(path, tensors[:1], "bf16")  # draws the block
        for _ in range(rounds):
            path.unlink()
            began = time.perf_counter()
            write_file(path, tensors, "bf16")
            drawn.append(time.perf_counter() - began)
            path.unlink()
            began = time.perf_counter()
            write_plainly(path, size)
            plain.append(time.perf_counter() - began)
    ours, theirs = statistics.median(drawn), statistics.median(plain)
    print(f"random weights, {size / 2**30:.2f} GiB, medians of {rounds} rounds in turns")
    print(f"  drawn and laid out   {ours:.2f} s, {size / 2**30 / ours:.2f} GiB/s")
    print(f"  one buffer, written  {theirs:.2f} s, {size / 2**30 / theirs:.2f} GiB/s")
    print(f"  ratio of the times   {ours / theirs:.2f}")


def write_plainly(path: Path, size: int) -> None:
    """Write that many bytes of one random buffer, and wait for the disk."""
    buffer = memoryview(os.urandom(8 << 20))
    with open(path, "wb") as file:
        left = size
        while left:
            left -= file.write(buffer[:left])
        file.flush()
        os.fsync(file.fileno())


if __name__ == "__main__":
    main(*(kind(text) for kind, text in zip((float, int), sys.argv[1:], strict=False)))
