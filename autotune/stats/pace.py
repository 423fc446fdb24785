"""How long a step takes, and how many of them a time buys: the honest rival of a cache.

A generation is affine in its steps: what is encoded and decoded once, and so much a step. Skipping
work inside the steps must beat leaving whole steps out (numbers.md, E).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

#: What the measured times may be off by in the last digits of a float.
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Pace:
    """What a generation of ``steps`` steps is made of."""

    fixed_s: float
    step_s: float
    steps: int

    def steps_within(self, seconds: float) -> int:
        """How many steps fit into that time; none, if it is short of the fixed part."""
        return max(0, math.floor((seconds - self.fixed_s) / self.step_s + _ROUNDING))


def pace_of(seconds: float, phases_s: Mapping[str, float], steps: int) -> Pace | None:
    """The pace of a generation that took so long, or ``None`` if its phases do not tell.

    The phases come from a watched generation, which is slower than the timed ones: their shares
    are used, not their seconds. A step is all that happens between two passes of the loop, with
    guidance two passes of the denoiser.
    """
    total, denoise = math.fsum(phases_s.values()), phases_s.get("denoise", 0.0)
    if steps < 1 or seconds <= 0 or denoise <= 0:
        return None
    loop_s = seconds * denoise / total
    return Pace(fixed_s=seconds - loop_s, step_s=loop_s / steps, steps=steps)
