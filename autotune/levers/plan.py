"""What a candidate makes of a model, said by its levers without running anything.

Each lever that changes bytes or work turns a `Plan` into another one (``plan(plan, choice)``), in
the order in which levers are applied. The estimator reads the last one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from autotune.records import Device, Model, Workload


class Place(StrEnum):
    """Where the weights of a component lie while pictures are made."""

    DEVICE = "device"
    #: On the device while in use, then copied back to the host.
    SWAPPED = "swapped"
    #: On the device while in use, then dropped: a copy stays on the host.
    STAGED = "staged"
    #: A few blocks at a time; what is in no block stays.
    BLOCKS = "blocks"
    #: A layer at a time.
    LEAVES = "leaves"
    #: On the host, where it is computed too.
    HOST = "host"
    #: Nowhere: what it would compute is known.
    GONE = "gone"


@dataclass(frozen=True, kw_only=True)
class Part:
    """How the weights of one component lie, and where.

    Args:
        dtype: The format that is computed in: ``fp32``, ``bf16``, ``fp16``.
        quantizer: The quantizer's id, if one converts the Linears.
        cast: Whether they lie in 8 bits and are cast up layer by layer.
        file_bytes: What they take as they come out of a given file.
        place: Where they lie.
        share: Of the blocks, by bytes, that stay on the device (``Place.BLOCKS``).
        at_once: Blocks that come to the device together (``Place.BLOCKS``); 0 if each comes layer
            by layer.
        ahead: Whether the next ones are on their way while these are in use.
        from_disk: Whether they come from a file, and lie nowhere in host memory.
    """

    dtype: str
    quantizer: str | None = None
    cast: bool = False
    file_bytes: int | None = None
    place: Place = Place.DEVICE
    share: float = 0.0
    at_once: int = 1
    ahead: bool = False
    from_disk: bool = False


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A candidate as the estimator sees it.

    Args:
        parts: By component, its weights.
        tiling: How the picture is decoded: a choice of vae-tiling.
        sliced: Whether a batch is decoded one picture at a time.
        multiple: How many times the workload's batch one call makes.
        fused: Whether the denoiser holds fused projections beside its own.
        scores: Which share of the largest matrix of attention scores is in memory at once; none
            with a kernel that never writes them down.
        kept_outputs: Outputs of a block that are kept from one step to the next.
        kept_per_block: The same, for every block.
        scores_uncompiled: The same, of a kernel that does so unless it is compiled.
        compiled: Components that are compiled.
        hooked: Whether hooks keep the compiler out of the denoisers' blocks.
    """

    model: Model
    device: Device
    workload: Workload
    parts: Mapping[str, Part]
    tiling: str = "off"
    sliced: bool = False
    multiple: int = 1
    fused: bool = False
    scores: float = 0.0
    scores_uncompiled: float = 0.0
    kept_outputs: float = 0.0
    kept_per_block: float = 0.0
    compiled: frozenset[str] = field(default_factory=frozenset)
    hooked: bool = False

    def runs_compiled(self, component: str) -> bool:
        """Whether what takes a component's time is compiled code."""
        kept_out = self.hooked and component in self.model.denoisers
        return component in self.compiled and not kept_out

    def but(self, **changes: Any) -> Plan:
        """A plan with some things changed."""
        return replace(self, **changes)

    def with_parts(self, names: Iterable[str], **changes: Any) -> Plan:
        """A plan in which the components of those names, as far as there are any, are changed."""
        changed = {
            name: replace(self.parts[name], **changes) for name in names if name in self.parts
        }
        return self.but(parts={**self.parts, **changed})
