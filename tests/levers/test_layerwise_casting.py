"""layerwise-casting: what lies in 8 bits, what does not, and that nothing undoes it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.levers.built import built, observed, planned, proof, with_twin
from tests.trial.bench import tiny_model

pytestmark = pytest.mark.trials
LEVER = "layerwise-casting"


def formats(module: Any) -> Counter[str]:
    return Counter(str(parameter.dtype) for parameter in module.parameters())


def test_the_weights_stay_in_8_bits_when_the_pipeline_is_placed_and_runs() -> None:
    target = built("flux", dtype="bf16", layerwise_casting="fp8-e4m3")
    before = formats(target.denoiser)
    assert before["torch.float8_e4m3fn"] > before["torch.bfloat16"] > 0
    observed(target, layerwise_casting="fp8-e4m3")
    assert formats(target.denoiser) == before
    assert proof(target, LEVER, "fp8-e4m3").engaged
    assert proof(target, "dtype", "bf16").engaged


def test_layerwise_casting_leaves_text_encoders_and_the_vae_alone() -> None:
    target = built("flux", dtype="bf16", layerwise_casting="fp8-e4m3")
    for part in ("text_encoder", "text_encoder_2", "vae"):
        assert set(formats(getattr(target.pipe, part))) == {"torch.bfloat16"}


def test_weights_cast_back_to_full_size_are_no_proof() -> None:
    import torch

    target = built("sd15", layerwise_casting="fp8-e5m2")
    assert proof(target, LEVER, "fp8-e5m2").engaged
    # What a later cast of the pipeline does: the hooks stay and the saving is gone (B93).
    target.denoiser.to(torch.float32)
    assert not proof(target, LEVER, "fp8-e5m2").engaged


def test_the_other_format_is_no_proof_and_neither_is_any_for_off() -> None:
    target = built("sd15", layerwise_casting="fp8-e4m3")
    assert not proof(target, LEVER, "fp8-e5m2").engaged
    assert not proof(target, LEVER, "off").engaged
    assert proof(built("sd15", layerwise_casting="off"), LEVER, "off").engaged


@pytest.mark.parametrize("choice", ["fp8-e4m3", "fp8-e5m2"])
def test_every_denoiser_is_planned_in_8_bits_and_nothing_else(choice: str) -> None:
    model = with_twin(tiny_model("flux"))
    found = planned(model, layerwise_casting=choice, dtype="bf16")
    cast = {name for name, part in found.parts.items() if part.cast}
    assert cast == {"transformer", "transformer_2"}
    assert {part.dtype for part in found.parts.values()} == {"bf16"}, "what is computed in"
    assert not any(part.cast for part in planned(model, layerwise_casting="off").parts.values())
