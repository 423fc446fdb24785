"""Levers whose choices need a file that the user gives: without one there is the baseline.

With one: ``tests/levers/test_checkpoint.py`` and ``tests/levers/test_vae_model.py``.
"""

from __future__ import annotations

from tests.contract.row import Row

ROWS = (
    Row(
        lever="checkpoint",
        released="own gguf svdquant bfl auto-round",
        baseline="own",
        accepts=dict.fromkeys(("sd15", "flux", "wan"), "own"),
        changes=dict.fromkeys(("gguf", "svdquant", "bfl", "auto-round"), 0.1),
    ),
    Row(
        lever="vae-model",
        released="own tiny",
        baseline="own",
        accepts=dict.fromkeys(("sd15", "flux", "wan"), "own"),
        changes={"tiny": 1.0},
    ),
)
