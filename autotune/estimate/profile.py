"""What a model is made of and what it does, counted once without a weight or a device.

A `Profile` is for one model and workload; everything else the estimator asks is arithmetic on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from autotune.files import write_atomic
from autotune.records import Model, Record, Workload
from autotune.stored import read_stored

#: What a profile is called in the folder of an inspection.
PROFILE = "profile.json"
#: That of HiDream, the longest of the catalogue, has 60 KB.
_CAP_BYTES = 8 << 20

Kind = Literal["linear", "convolution", "embedding", "other"]


class Tensors(Record):
    """Equal weights: a shape, how often it is there, and who leaves it as it is.

    ``fp32`` names the formats in which a model is loaded and these stay 32-bit floats. Where no
    format changes them, integers for example, ``number_bytes`` is what a number takes. ``whole``
    names those that do not touch them: of the weights of Linears, the only ones that quantizers
    convert, the packages of quantizers; and ``casting`` for layerwise casting.
    """

    kind: Kind
    shape: tuple[int, ...]
    count: int = 1
    fp32: tuple[str, ...] = ()
    number_bytes: int | None = None
    whole: tuple[str, ...] = ()


class Block(Record):
    """Blocks of a denoiser or encoder that are made of the same weights."""

    name: str
    count: int
    tensors: tuple[Tensors, ...]


class Weights(Record):
    """The weights of one component: its repeated blocks, and what is in none of them.

    ``fused`` is what fusing query, key and value adds to it, if that can be done.
    """

    class_name: str
    library: str
    blocks: tuple[Block, ...] = ()
    rest: tuple[Tensors, ...] = ()
    fused: tuple[Tensors, ...] = ()


class Work(Record):
    """What one call computes: operations by kind, a multiplication and its addition being two.

    ``moved_bytes`` is what all of its operations read and write beside the weights, in the format
    that was counted in; ``operations`` how many there are, each a launch on an accelerator.
    """

    linear: float = 0.0
    convolution: float = 0.0
    attention: float = 0.0
    moved_bytes: float = 0.0
    operations: int = 0

    @property
    def flops(self) -> float:
        """All of it."""
        return self.linear + self.convolution + self.attention


class Call(Record):
    """One call of a component: how often an image takes it, and what it does.

    ``narrow_bytes`` and ``other_bytes`` are what lies in memory beside the weights at the worst
    moment, in 16-bit floats, which grow and shrink with the format, and in all other formats.
    ``flat_bytes`` is what the largest convolution over two axes reads and writes, ``deep_bytes``
    over three. ``scores`` is the number of elements of the largest matrix of attention scores,
    ``hidden`` that of one block's output, and ``output_bytes`` is what comes out.
    """

    component: str
    count: int
    work: Work
    narrow_bytes: int
    other_bytes: int
    flat_bytes: int = 0
    deep_bytes: int = 0
    output_bytes: int = 0
    scores: int = 0
    hidden: int = 0


class Profile(Record):
    """A model with a workload, counted in 16-bit floats.

    ``decode`` is by choice of vae-tiling. ``upcast`` names components that a pipeline casts to
    fp32 while it uses them in fp16. Where the calls could not be counted they are empty, and
    ``uncounted`` says why: then only weights are known.
    """

    format: Literal[1] = 1
    model: str
    workload: Workload
    components: Mapping[str, Weights]
    encode: tuple[Call, ...] = ()
    denoise: tuple[Call, ...] = ()
    decode: Mapping[str, Call] = {}
    upcast: tuple[str, ...] = ()
    uncounted: str | None = None


def bare_profile(model: Model) -> Profile:
    """All that is known of a model without looking into it: how many numbers its parts hold."""
    components = {
        part.name: Weights(
            class_name=part.class_name,
            library=part.library,
            rest=(Tensors(kind="linear", shape=(1, part.parameters)),),
        )
        for part in model.components
        if part.parameters
    }
    return Profile(
        model=model.id,
        workload=model.workload,
        components=components,
        uncounted="the model was not looked into",
    )


def read_profile(path: Path) -> Profile:
    """Read a profile that this program wrote.

    Raises:
        BadInput: If the file is not one.
    """
    return read_stored(path, Profile, cap_bytes=_CAP_BYTES)


def write_profile(path: Path, profile: Profile) -> None:
    """Write a profile, in place of an older one."""
    write_atomic(path, profile.model_dump_json().encode(), overwrite=True)
