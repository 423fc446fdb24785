"""Attention: its kernel, and computing it in slices."""

from __future__ import annotations

from tests.contract.row import UNETS, Row, for_all

#: 8-bit attention: none of it runs on a CPU.
_SAGE = (
    "sage",
    "sage-varlen",
    "sage-int8-fp8",
    "sage-int8-fp8-sm90",
    "sage-int8-fp16",
    "sage-int8-fp16-triton",
)

ROWS = (
    Row(
        lever="attention",
        released=(
            "native native-flash native-efficient native-cudnn native-math flex xformers flash "
            "flash-varlen flash-3 flash-3-varlen flash-hub flash-varlen-hub flash-3-hub "
            "flash-3-varlen-hub flash-4-hub sage sage-varlen sage-hub sage-blackwell-hub "
            "sage-int8-fp8 sage-int8-fp8-sm90 sage-int8-fp16 sage-int8-fp16-triton aiter-hub "
            "native-npu native-xla"
        ),
        baseline="native",
        # The others take no backend, as this UNet.
        accepts={"sd15": "native"}
        | dict.fromkeys(("flux", "wan"), "native native-flash native-math flex"),
        changes=dict.fromkeys((*_SAGE, "sage-blackwell-hub", "sage-hub"), 0.05),
    ),
    Row(
        lever="attention-slicing",
        released="off auto max",
        baseline="off",
        accepts=for_all("off", **dict.fromkeys(UNETS, "off auto max")),
    ),
)
