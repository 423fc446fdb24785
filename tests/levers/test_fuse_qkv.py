"""fuse-qkv: proof by calls of the fused projections, and the way back."""

from __future__ import annotations

import pytest

from autotune.levers import load_levers
from autotune.models.structure import Structure
from tests.levers.built import built, card, observed, proof, reasons
from tests.trial.bench import SMALL, tiny_model

pytestmark = pytest.mark.trials
LEVER = "fuse-qkv"


@pytest.mark.parametrize("pipeline", ["flux", "sd15"])
def test_fused_projections_that_attention_goes_round_are_no_proof(pipeline: str) -> None:
    target = built(pipeline, fuse_qkv="on")
    observed(target, fuse_qkv="on")
    assert proof(target, LEVER, "on").engaged
    for module in target.denoiser.modules():
        if pipeline == "flux" and hasattr(module, "to_qkv"):
            module.fused_projections = False  # what the processor looks at
    if pipeline == "sd15":
        target.denoiser.set_attn_processor(target.denoiser.original_attn_processors)
    target.seen = {}
    observed(target, fuse_qkv="on")
    assert not proof(target, LEVER, "on").engaged


@pytest.mark.parametrize("pipeline", ["flux", "sd15", "wan", "sd3"])
def test_off_takes_the_fused_projections_out_again(pipeline: str) -> None:
    target = built(pipeline, fuse_qkv="off")
    names = [name for name, _ in target.denoiser.named_parameters()]
    plain = observed(target)
    lever = load_levers()[LEVER]
    lever.apply(target, "on")
    assert len(list(target.denoiser.parameters())) > len(names)
    assert not proof(target, LEVER, "off").engaged
    lever.apply(target, "off")
    assert [name for name, _ in target.denoiser.named_parameters()] == names
    assert proof(target, LEVER, "off").engaged
    assert bool((observed(target) == plain).all())


def test_fusing_leaves_the_models_own_structure_alone() -> None:
    view = Structure(tiny_model("sd15"), SMALL)
    before = [name for name, _ in view.module("unet").named_parameters()]
    assert reasons(LEVER, card(), view)["on"] is None
    assert [name for name, _ in view.module("unet").named_parameters()] == before


def test_a_class_that_cannot_fuse_says_so() -> None:
    reason = reasons(LEVER, card(), Structure(tiny_model("sana"), SMALL))["on"]
    assert reason is not None
    assert reason.startswith("SanaTransformer2DModel ")


def test_both_denoisers_are_fused() -> None:
    target = built("wan", fuse_qkv="off")
    twin = target.pipe.transformer_2 = type(target.denoiser).from_config(target.denoiser.config)
    target.model = target.model.but(
        components=(
            *target.model.components,
            target.model.component("transformer").but(name="transformer_2"),
        )
    )
    load_levers()[LEVER].apply(target, "on")
    assert any(getattr(module, "fused_projections", False) for module in twin.modules())
