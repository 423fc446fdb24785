"""Small levers: fused projections, casts, batches, and settings of the process."""

from __future__ import annotations

from functools import cache

from tests.contract.row import MEDIUM, Row

FEW = ("flux", "sd15", "wan")


@cache
def _fast_on_this_processor() -> str:
    """The precisions at which this processor computes a large product otherwise (each an id)."""
    import torch

    matrix = torch.randn(1024, 1024, generator=torch.Generator().manual_seed(1))
    exact = matrix @ matrix
    found = []
    for precision in ("high", "medium"):
        torch.set_float32_matmul_precision(precision)
        if not torch.equal(matrix @ matrix, exact):
            found.append(precision)
    torch.set_float32_matmul_precision("highest")
    return " ".join(["highest", *found])


ROWS = (
    Row(
        lever="allocator",
        released="default expandable-segments",
        baseline="default",
        accepts=dict.fromkeys(FEW, "default"),
    ),
    Row(
        lever="matmul-precision",
        released="highest high medium",
        baseline="highest",
        accepts=dict.fromkeys(FEW, _fast_on_this_processor()),
        changes={"high": 0.01, "medium": 0.01},
        visible=False,
    ),
    Row(
        lever="cudnn-benchmark",
        released="off on",
        baseline="off",
        accepts=dict.fromkeys(FEW, "off"),
    ),
    Row(
        lever="vae-dtype",
        released="same fp32 bf16",
        baseline="same",
        accepts=dict.fromkeys((*FEW, "sdxl"), "same fp32 bf16"),
        changes={"bf16": 0.02},
    ),
    Row(
        lever="fuse-qkv",
        released="off on",
        baseline="off",
        accepts=dict.fromkeys((*FEW, "sd3"), "off on") | {"sana": "off"},
    ),
    Row(
        lever="layerwise-casting",
        released="off fp8-e4m3 fp8-e5m2",
        baseline="off",
        accepts=dict.fromkeys(FEW, "off fp8-e4m3 fp8-e5m2"),
        changes={"fp8-e4m3": 0.05, "fp8-e5m2": 0.1},
    ),
    Row(
        lever="batch",
        released="as-asked x2 x4 x8",
        baseline="as-asked",
        accepts=dict.fromkeys(FEW, "as-asked x2 x4 x8"),
    ),
    # A batch of two, times two.
    Row(
        lever="batch",
        released="as-asked x2 x4 x8",
        baseline="as-asked",
        accepts={"sd15": "as-asked x2 x4 x8"},
        workload=MEDIUM,
    ),
)
