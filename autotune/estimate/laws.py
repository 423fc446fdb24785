"""What a kind of device adds to weights and activations, with where each number is from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from autotune.records import DeviceKind

#: A convolution: over how many axes it goes, and the format that it is computed in.
Convolution = tuple[int, str]


@dataclass(frozen=True, kw_only=True)
class Law:
    """The terms that no counting shows.

    Args:
        process_bytes: What a process takes before its first tensor, by the format it computes in.
        packing_bytes: What a quantizer's package takes beside it, by the package.
        packing: Of the weights that it packs while they are loaded, what stays behind.
        weights: Of weights as they lie, what is in memory for them.
        live: Of activations, what is in memory for them.
        workspace: Of what the largest convolution reads and writes, what its kernel takes beside
            it.
        slack: Of what tensors take, what the allocator holds on top.
        copies_of_scores: How often the plain formula of attention has its scores in memory.
        margin: By how much the estimate is raised, so that it is rarely below what is measured.
        surely: Of the estimate, what no candidate stays below.
    """

    process_bytes: Mapping[str, int]
    packing_bytes: Mapping[str, int] = field(default_factory=dict)
    packing: float = 0.0
    weights: float = 1.0
    live: float = 1.0
    workspace: Mapping[Convolution, float] = field(default_factory=dict)
    slack: float = 0.0
    copies_of_scores: float = 2.0
    margin: float
    surely: float


_FORMATS = ("fp32", "bf16", "fp16")

#: An NVIDIA card.
#:
#: The context with cuBLAS and cuDNN in it is an assumption: 400 to 600 MiB are what is usually
#: seen; the first run on a card will tell.
#: Two axes: Flux decodes 1024² in 5.0 GB beside the weights (diffusers' documentation: 14.945 GB
#: allocated with 9.98 GB of weights; 5.07 GB from load to peak on an H100, numbers.md B1, B3), of
#: which 1.61 GB are counted, and its largest convolution reads and writes 1.07 GB. Three axes:
#: Qwen-Image's VAE, which has one frame there: 4.37 GiB allocated (numbers.md D), 3.63 GB counted.
#: The allocator: 24.99 GB reserved on an H100 with 24.3 GB in tensors (numbers.md B3, bf16 with
#: model offload).
_CARD = Law(
    process_bytes=dict.fromkeys(_FORMATS, 512 << 20),
    workspace={(2, one): 3.2 for one in _FORMATS} | {(3, one): 1.0 for one in _FORMATS},
    slack=0.02,
    margin=0.03,
    surely=0.87,
)
#: A processor, whose memory is the host's and is seen as resident pages.
#:
#: Fitted to 218 trials of four tiny models on two cores without bf16 arithmetic (torch 2.13.0,
#: `tests/benchmarks/memory.py`), so that the estimate was nowhere more than 5 % below. The same
#: candidate peaks 5 to 15 % higher or lower from one process to the next: glibc's heaps grow with
#: the order in which threads free. Formats without arithmetic of their own are computed in fp32,
#: and convolutions over three axes as products of an unfolded input.
_HOST = Law(
    process_bytes={"fp32": 58_000_000, "bf16": 88_000_000, "fp16": 60_000_000},
    packing_bytes={"torchao": 3_600_000, "optimum-quanto": 7_200_000},
    packing=2.4,
    weights=1.2,
    live=1.82,
    workspace={(2, "fp16"): 7.3, (3, "bf16"): 2.0, (3, "fp16"): 0.8, (3, "fp32"): 14.5},
    margin=0.0,
    surely=0.6,
)


def law_of(kind: DeviceKind) -> Law:
    """The law of a kind of device."""
    return _HOST if kind in ("cpu", "mps") else _CARD
