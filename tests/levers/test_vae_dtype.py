"""vae-dtype: every pipeline decodes in a format of its own, tiled, offloaded or compiled."""

from __future__ import annotations

import pytest

from autotune.levers import load_levers
from tests.levers.built import built, card, observed, planned, proof, reasons
from tests.trial.bench import SMALL, tiny_model

pytestmark = pytest.mark.trials
LEVER = "vae-dtype"
PIPELINES = ("sd15", "sdxl", "flux", "wan")


@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize("choice", ["fp32", "bf16"])
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_the_picture_is_whole_whatever_the_pipelines_format_is(
    pipeline: str, choice: str, dtype: str
) -> None:
    target = built(pipeline, dtype=dtype, vae_dtype=choice)
    picture = observed(target)
    frames = (5,) if pipeline == "wan" else ()
    assert picture.shape == (1, *frames, 3, 64, 64)
    assert proof(target, LEVER, choice).engaged


def test_sdxl_in_fp16_does_without_its_own_casts_up_and_down() -> None:
    target = built("sdxl", dtype="fp16", vae_dtype="bf16")
    assert target.vae.config.force_upcast
    seen = []
    target.vae.decoder.register_forward_pre_hook(
        lambda module, given: seen.append((str(given[0].dtype), str(module.conv_in.weight.dtype)))
    )
    observed(target)
    assert seen == [("torch.bfloat16", "torch.bfloat16")]


def test_encoding_is_as_before() -> None:
    import torch

    target = built("sd15", dtype="bf16", vae_dtype="fp32")
    latents = target.vae.encode(torch.zeros(1, 3, 64, 64)).latent_dist.mode()
    assert latents.shape == (1, 4, 8, 8)
    assert latents.dtype is torch.float32


def test_it_works_tiled() -> None:
    workload = SMALL.but(height=128, width=128)
    target = built("flux", workload, dtype="bf16", vae_dtype="fp32", vae_tiling="half")
    assert observed(target).shape == (1, 3, 128, 128)
    assert proof(target, "vae-tiling", "half").engaged


def test_hooks_of_offloading_run_before_decoding() -> None:
    target = built("flux", dtype="bf16", vae_dtype="fp32")
    # On a CPU the hooks really run, and move nothing.
    target.pipe.enable_model_cpu_offload(device="cpu")
    assert target.vae._hf_hook is not None
    called = []
    before = target.vae._hf_hook.pre_forward
    target.vae._hf_hook.pre_forward = lambda *given, **named: (
        called.append(1),
        before(*given, **named),
    )[1]
    observed(target)
    assert called == [1]
    assert proof(target, LEVER, "fp32").engaged


def test_group_offloading_moves_the_vae_all_the_same() -> None:
    import torch

    target = built("flux", dtype="bf16", vae_dtype="fp32")
    target.vae.enable_group_offload(torch.device("cpu"), offload_type="leaf_level")
    assert observed(target).shape == (1, 3, 64, 64)


def test_a_decoder_compiled_in_place_gets_the_format() -> None:
    import torch

    target = built("sd15", dtype="bf16", vae_dtype="fp32")
    torch.compiler.reset()
    target.vae.decoder.compile(backend="eager")
    assert observed(target).shape == (1, 3, 64, 64)
    torch.compiler.reset()


def test_evidence_that_is_taken_away_is_missed() -> None:
    import torch

    target = built("sd15", vae_dtype="bf16")
    assert proof(target, LEVER, "bf16").engaged
    assert not proof(target, LEVER, "fp32").engaged
    assert not proof(target, LEVER, "same").engaged
    del target.vae.decode
    assert not proof(target, LEVER, "bf16").engaged
    target = built("sd15", vae_dtype="bf16")
    target.vae.decoder.to(torch.float32)
    assert not proof(target, LEVER, "bf16").engaged


def test_applying_it_twice_casts_once() -> None:
    target = built("sd15", dtype="bf16", vae_dtype="fp32")
    first = target.vae.decode
    load_levers()[LEVER].apply(target, "fp32")
    assert target.vae.decode is first


def test_an_old_card_has_no_bf16() -> None:
    assert reasons(LEVER, card("7.5"))["bf16"] == (
        "compute capability 7.5 has no bf16 (8.0 and later have)"
    )
    assert reasons(LEVER, card("7.5"))["fp32"] is None
    assert reasons(LEVER, card("8.0"))["bf16"] is None


def test_the_vae_alone_is_planned_in_the_format_and_after_the_pipelines() -> None:
    plain = planned("flux", dtype="fp16")
    assert planned("flux", vae_dtype="same", dtype="fp16") == plain
    for choice in ("fp32", "bf16"):
        found = planned("flux", vae_dtype=choice, dtype="fp16")
        assert found == plain.with_parts(["vae"], dtype=choice)
        assert {part.dtype for part in found.parts.values()} == {"fp16", choice}
    quantized = planned("flux", vae_dtype="fp32", quantize_vae="torchao-int8wo")
    assert quantized.parts["vae"].quantizer == "torchao-int8wo", "it stays packed"


def test_without_a_vae_there_is_nothing_to_plan() -> None:
    model = tiny_model("flux")
    rest = tuple(part for part in model.components if part.name != "vae")
    blind = model.but(components=rest)
    assert planned(blind, vae_dtype="fp32", quantize_vae="torchao-int8wo") == planned(blind)
