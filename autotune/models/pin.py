"""A digest that says whether a folder still holds the same model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from autotune.files import canonical_json

#: Read whole up to here, in well under a second; every configuration and tokenizer is smaller.
WHOLE_BYTES = 64 * 1024**2
#: Of a larger file the beginning, which holds the header with every name and shape, and samples
#: that tell two trainings of one model apart.
HEAD_BYTES = 8 * 1024**2
SAMPLES, SAMPLE_BYTES = 64, 64 * 1024


def pin(folder: Path, files: Iterable[str]) -> str:
    """The digest of some files of a folder, as ``sha256:…``; independent of where the folder is.

    Large files are sampled, not read: a change of a few weights in one may go unnoticed.
    """
    hasher = hashlib.sha256()
    for name in sorted(files):
        path = folder / name
        # The name and size stand before the content: no two sets of files give one stream.
        hasher.update(canonical_json([name, path.stat().st_size]))
        for block in _blocks(path):
            hasher.update(block)
    return f"sha256:{hasher.hexdigest()}"


def pin_file(path: Path) -> str:
    """The digest of one file, as ``sha256:…``; whatever it is called and wherever it lies.

    Reads at most `WHOLE_BYTES`, of a large file 12 MiB: as `pin`, it does not see every change.
    """
    hasher = hashlib.sha256(canonical_json([path.stat().st_size]))
    for block in _blocks(path):
        hasher.update(block)
    return f"sha256:{hasher.hexdigest()}"


def _blocks(path: Path) -> Iterator[bytes]:
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= WHOLE_BYTES:
            yield file.read(WHOLE_BYTES)
            return
        yield file.read(HEAD_BYTES)
        rest = size - HEAD_BYTES - SAMPLE_BYTES
        for number in range(SAMPLES):
            file.seek(HEAD_BYTES + rest * (number + 1) // SAMPLES)
            yield file.read(SAMPLE_BYTES)
