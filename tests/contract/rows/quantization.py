"""Quantization of each component; the tiny models' Linears are too small for SDNQ."""

from __future__ import annotations

from tests.contract.row import Row

_IDS = (
    "none bnb-nf4 bnb-fp4 bnb-int8 torchao-int8wo torchao-int8dq torchao-int4wo torchao-fp8wo "
    "torchao-fp8dq torchao-fp8dq-tensor quanto-int8 quanto-int4 quanto-fp8 sdnq-int8 sdnq-uint4 "
    "sdnq-int8-matmul modelopt-fp8"
)
#: What a CPU can do for a class of diffusers, and for one of transformers.
_ANY = "none torchao-int8wo torchao-int8dq torchao-fp8wo quanto-int8 quanto-int4 quanto-fp8"
_ENCODER = f"{_ANY} bnb-nf4 bnb-fp4 bnb-int8"


def _most(id: str) -> float:
    """Thrice what was seen: 0.0013 in 8-bit integers, 0.004 in 8-bit floats, 0.010 in four."""
    if "int8" in id:
        return 0.004
    return 0.012 if "fp8" in id else 0.03


_CHANGES = {id: _most(id) for id in _IDS.split()[1:]}

ROWS = (
    Row(
        lever="quantize-denoiser",
        released=_IDS,
        baseline="none",
        accepts={"flux": _ANY},
        changes=_CHANGES,
    ),
    Row(
        lever="quantize-text-encoder",
        released=_IDS,
        baseline="none",
        accepts={"flux": _ENCODER},
        changes=_CHANGES,
    ),
    Row(
        lever="quantize-other-encoders",
        released=_IDS,
        baseline="none",
        accepts={"flux": _ENCODER},
        changes=_CHANGES,
    ),
    Row(
        lever="quantize-vae",
        released=_IDS,
        baseline="none",
        accepts={"sd15": _ANY},
        changes=_CHANGES,
    ),
)
