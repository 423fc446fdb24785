"""One row of data a lever: what it offers each tiny pipeline on a CPU, and what it does there.

A choice id stands in recipes, so ``released`` only ever grows.
"""

from __future__ import annotations

from tests.contract.rows import (
    attention,
    cache,
    compile,
    first,
    given,
    placement,
    quantization,
    structure,
)

ROWS = (
    *first.ROWS,
    *attention.ROWS,
    *cache.ROWS,
    *structure.ROWS,
    *given.ROWS,
    *placement.ROWS,
    *quantization.ROWS,
    *compile.ROWS,
)
