"""quanto's unpacking of 4-bit weights, in plain torch instead of a C++ extension.

On first use quanto compiles its extension into its own installation, under a lock file. A trial
that is killed meanwhile leaves the lock behind, and every later use waits for it for ever (seen
with optimum-quanto 0.2.7). Nothing but the unpacking of a weight comes from there on a CPU.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


def unpack_without_extension() -> None:
    """Have quanto unpack with torch, unless it has loaded an extension already."""
    import optimum.quanto  # noqa: F401 - registers the extensions
    from optimum.quanto.library.extensions import get_extension, is_extension_available

    for name in ("quanto_cpp", "quanto_cuda", "quanto_hip", "quanto_mps"):
        if is_extension_available(name) and get_extension(name)._lib is None:
            get_extension(name)._lib = SimpleNamespace(unpack=unpack)


def unpack(packed: Any, bits: int) -> Any:
    """The numbers of ``bits`` bits that lie in bytes, the lowest bits of all bytes first."""
    import torch

    lowest = (1 << bits) - 1
    return torch.cat([packed >> shift & lowest for shift in range(0, 8, bits)])
