"""bitsandbytes' repacking of 4-bit weights on processors with bf16 arithmetic, kept from failing.

There the first call of a layer lays its weight out anew for AVX-512, which needs outputs in
multiples of 32 and inputs in whole groups of 64; a layer of other widths ends the call (seen with
bitsandbytes 0.50.2: "shape '[32, 0]' is invalid"). On all other processors nothing is laid out.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

_ROWS, _GROUP = 32, 64
#: On our ``forward``, so that it is put in front once.
_MARK = "_autotune_checks"
#: The same for one component that is loaded, as code.
UNPACKED = """\
for layer in {part}.modules():
    # On processors with bf16 arithmetic it is laid out anew, which fails for these widths.
    if isinstance(layer, bitsandbytes.nn.Linear4bit):
        if layer.in_features % 64 or layer.out_features % 32:
            layer.support_avx512bf16_for_cpu = False"""


def repack_only_what_divides() -> None:
    """Have layers whose widths do not divide compute with their weights as they are."""
    from bitsandbytes import nn

    forward = nn.Linear4bit.forward
    if getattr(forward, _MARK, False):
        return

    @wraps(forward)
    def checked(layer: Any, *arguments: Any, **named: Any) -> Any:
        if layer.in_features % _GROUP or layer.out_features % _ROWS:
            layer.support_avx512bf16_for_cpu = False
        return forward(layer, *arguments, **named)

    setattr(checked, _MARK, True)
    nn.Linear4bit.forward = checked
