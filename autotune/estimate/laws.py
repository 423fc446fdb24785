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
        process_bytes: What a process takes before its first tensor.
        format_bytes: What it takes on top for the kernels of a format that it computes in.
        compiler_bytes: What it takes on top where anything is compiled in it.
        packing: For packing weights while they are loaded, by the package (``casting`` for casts):
            what that takes for itself, and of the weights as they were, what stays behind.
        weights: Of weights as they lie, what is in memory for them.
        live: Of activations, what is in memory for them.
        workspace: Of what the largest convolution reads and writes, what its kernel takes beside
            it.
        copies_of_scores: How often scores that are written down are in memory, by the format;
            twice, where it says nothing.
        margin: By how much what is expected is raised, so that what is measured stays within it.
        surely: Of what is expected, what no candidate stays below.
    """

    process_bytes: int
    format_bytes: Mapping[str, int] = field(default_factory=dict)
    compiler_bytes: int = 0
    packing: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    weights: float = 1.0
    live: float = 1.0
    workspace: Mapping[Convolution, float] = field(default_factory=dict)
    copies_of_scores: Mapping[str, float] = field(default_factory=dict)
    margin: float
    surely: float


_FORMATS = ("fp32", "bf16", "fp16")

#: An NVIDIA card.
#:
#: The context with cuBLAS and cuDNN in it: 729 MB on an H200 with CUDA 13 in most processes, up to
#: 840 MB with streams or tiles (`tests/benchmarks/results/nvidia-h200`).
#: Two axes: Flux decodes 1024² in 5.0 GB beside the weights (diffusers' documentation: 14.945 GB
#: allocated with 9.98 GB of weights; 5.07 GB from load to peak on an H100, numbers.md B1, B3), of
#: which 1.61 GB are counted, and its largest convolution reads and writes 1.07 GB. Three axes:
#: Qwen-Image's VAE, which has one frame there: 4.37 GiB allocated (numbers.md D), 3.63 GB counted.
#: The allocator: Flux loaded in bf16 and in NF4 reserves what lies in tensors on that H200, and an
#: H100 24.99 GB with 24.3 GB in tensors (numbers.md B3, bf16 with model offload): the margin. What
#: else it keeps it gives back at the budget.
_CARD = Law(
    process_bytes=729_000_000,
    workspace={(2, one): 3.2 for one in _FORMATS} | {(3, one): 1.0 for one in _FORMATS},
    margin=0.03,
    surely=0.87,
)
#: A processor, whose memory is the host's and is seen as resident pages.
#:
#: Fitted to the medians of three processes for 70 candidates of four tiny models, two cores with
#: bf16 arithmetic, torch 2.13.0 (`tests/benchmarks/memory.py`), so that no estimate was more than
#: 3.5 % below. A single process peaks 5 to 15 % higher or lower: glibc's heaps grow with the order
#: in which threads free; on another day three processes of a candidate differed by up to 40 %, and
#: the worst median lay 23 % above what was expected: the margin. Formats without arithmetic of
#: their own are computed in fp32, and convolutions over three axes as products of an unfolded
#: input. quanto's row is from 60 single processes, the compiler's from 104 (`tests/data/spaces`: 9
#: to 75 MB, half within 38 to 53).
_HOST = Law(
    process_bytes=66_000_000,
    format_bytes={"bf16": 26_000_000},
    compiler_bytes=48_000_000,
    packing={
        "torchao": (9_400_000, 0.7),
        "optimum-quanto": (7_200_000, 2.4),
        "casting": (0, 0.8),
    },
    weights=0.8,
    live=1.65,
    workspace={
        **{(2, "fp16"): 5.4, (2, "fp32"): 0.7},
        **{(3, "bf16"): 2.9, (3, "fp16"): 7.1, (3, "fp32"): 15.3},
    },
    # Half precision is widened for the softmax.
    copies_of_scores={"fp16": 8.0},
    margin=0.2,
    surely=0.6,
)


def law_of(kind: DeviceKind) -> Law:
    """The law of a kind of device."""
    return _HOST if kind in ("cpu", "mps") else _CARD
