"""Caches over steps, with enough of them to skip some."""

from __future__ import annotations

from tests.contract.row import Row
from tests.trial.bench import SMALL

_RELEASED = (
    "none first-block-5 first-block-8 first-block-12 taylorseer-3 taylorseer-5 taylorseer-5-lite "
    "pab-2 pab-4 fastercache-2 magcache-6 magcache-12 seacache-25 text-kv"
)
#: Skipping blocks, or predicting the last layer, changes more than reusing attention.
_CHANGES = dict.fromkeys(_RELEASED.split()[1:-1], 0.005) | {"taylorseer-5-lite": 0.02}

ROWS = (
    Row(
        lever="cache",
        released=_RELEASED,
        baseline="none",
        # First-block depends on activations, and never fires on these.
        accepts={
            "flux": (
                "none taylorseer-3 taylorseer-5 taylorseer-5-lite pab-2 pab-4 fastercache-2 "
                "magcache-6 magcache-12"
            ),
            "sd15": "none pab-2 pab-4",
            "sd3": "none",
        },
        changes=_CHANGES,
        weights="random",
        workload=SMALL.but(steps=12),
    ),
    Row(
        lever="cache",
        released=_RELEASED,
        baseline="none",
        # Guidance in two passes: PAB and FasterCache would mix them up.
        accepts={
            "wan": (
                "none first-block-5 first-block-8 first-block-12 taylorseer-3 taylorseer-5 "
                "taylorseer-5-lite seacache-25"
            ),
        },
        changes=_CHANGES,
        workload=SMALL.but(steps=28),
    ),
)
