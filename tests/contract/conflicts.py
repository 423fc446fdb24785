"""Every known conflict of diffusers' levers, and what in this program takes care of it.

The keys are the rows of the conflict table the levers were built from, with what happens there.
A value says who answers for it:

- ``rule ID ...``: rows of ``autotune/levers/rules.py``, each of which cites ``Bn``;
- ``unavailable LEVER=CHOICE ...``: the choice is not offered where it would happen;
- ``engagement LEVER=CHOICE ...``: the trial is ``not_applied``, because the evidence is missing;
- ``construction TEST``: what is built cannot have it; the test of that name shows so;
- ``outside WHY``: nothing this program can choose leads there.
"""

from __future__ import annotations

CONFLICTS: dict[int, tuple[str, str]] = {
    # ------------------------------------------------------------- B1: placement with placement
    # --------------------------------------------------------- B2: quantization with everything
    # --------------------------------------------------------------- B3: compile with everything
    # ------------------------------------------------------------ B4: attention, cache, structure
    76: ("padded prompts and a backend without masks", "rule masked-flash"),
    78: ("fp32 and a half-precision kernel", "rule gpu-kernels-need-half"),
    80: ("attention slicing and a backend", "rule slicing-replaces-attention"),
}
