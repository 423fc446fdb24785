"""Which choices exclude each other: one table, symmetric by construction.

``Bn`` in a citation is a row of the conflict table the levers were built from; each such row is
either here, or a reason why a choice is unavailable, or a check that it engaged (a test holds it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autotune.levers.rule import Rule, make_rule
from autotune.records import Candidate, DeviceKind

RULES: Sequence[Rule] = (
    # ------------------------------------------------------------------------ number formats
    make_rule(
        "flux-fp16",
        "dtype=fp16",
        families="flux",
        reason="Flux.1 overflows in fp16: NaN in the latents, black pictures",
        cite="huggingface/diffusers#9096, InvokeAI#7213",
    ),
    # ----------------------------------------------------------------------------- placement
    # -------------------------------------------------------------------------- quantization
    # ------------------------------------------------------------------------------- compile
    # ----------------------------------------------------------------- attention, cache, structure
    make_rule(
        "gpu-kernels-need-half",
        "dtype=fp32",
        "attention=native-flash|native-cudnn",
        devices=("cuda", "rocm"),
        reason="on a GPU this attention kernel takes bf16 and fp16 only",
        cite="diffusers attention_dispatch; B78",
    ),
    make_rule(
        "slicing-replaces-attention",
        "attention=native-flash|native-efficient|native-cudnn|native-math",
        "attention-slicing=!off",
        reason="sliced attention brings its own processor, a backend set beside it is ignored",
        cite="diffusers 0.42.1; B80",
        package="diffusers>=0.36",
    ),
    make_rule(
        "masked-flash",
        "attention=native-flash",
        families="hunyuan-video hunyuan-image",
        reason="flash attention refuses the padding mask of this family",
        cite="diffusers attention_dispatch; B76",
    ),
)


def broken_rule(
    candidate: Candidate,
    *,
    device: DeviceKind,
    family: str | None,
    software: Mapping[str, str],
) -> Rule | None:
    """The first rule that excludes the candidate, or ``None``."""
    for rule in RULES:
        if rule.forbids(candidate, device=device, family=family, software=software):
            return rule
    return None
