"""cache: what no tiny pipeline of the contract shows, and evidence that cannot be faked."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest

import autotune.levers.cache as cache
from autotune.levers.base import Seen, Target
from autotune.levers.mechanisms.cache_parts import AXES, TECHNIQUES, attention_names, hooked
from autotune.levers.mechanisms.cache_switch import _TIMESTEP_HOOK
from autotune.levers.rules import broken_rule
from autotune.records import Evidence
from autotune.trial import clock, generate
from autotune.trial.memory import make_meter
from tests.levers.views import LONG, View, loaded, reasons, view_of
from tests.trial.bench import CPU, tiny_model

CONTEXT = "opens no cache context, which this cache needs"


def run(target: Target, choice: str) -> Any:
    """One generation, watched for the evidence of the choice."""
    call = generate.caller(target.pipe, target.workload)
    watched = dict(cache.watched(target, choice))
    with clock.observing(target, make_meter(CPU), lambda: None, lambda _: None, watched) as seen:
        result = call(0)
    target.seen = seen.seen
    return result[0]


def evidence(target: Target, choice: str) -> Evidence:
    run(target, choice)
    return cache.engaged(target, choice)


# -------------------------------------------------------------------------- where it cannot be had


def test_every_cache_of_the_installed_diffusers_is_a_technique() -> None:
    from diffusers.models.cache_utils import CacheMixin

    known = re.findall(r"apply_(\w+)\(self, config\)", inspect.getsource(CacheMixin.enable_cache))
    assert sorted(known) == sorted(TECHNIQUES.values())
    assert {one.technique for one in cache._SETTINGS.values()} == set(TECHNIQUES)


def test_few_steps_rule_out_every_cache() -> None:
    few = reasons(cache, view_of("flux", LONG.but(steps=7)))
    assert few.pop("none") is None
    assert set(few.values()) == {"pays from about 8 steps on, this workload has 7"}
    assert reasons(cache, view_of("flux", LONG.but(steps=8)))["taylorseer-3"] is None


def test_random_weights_rule_out_what_depends_on_activations() -> None:
    random = reasons(cache, view_of("wan", weights="random"))
    for id in ("first-block-5", "first-block-8", "first-block-12", "seacache-25"):
        assert random[id] == "depends on activations, and these weights are random"
    assert random["taylorseer-3"] is None
    assert reasons(cache, view_of("wan"))["first-block-8"] is None


def test_a_pipeline_that_opens_no_cache_context_has_neither_first_block_nor_taylorseer() -> None:
    found = reasons(cache, view_of("flux", pipeline="FluxImg2ImgPipeline"))
    for id in ("first-block-8", "taylorseer-3", "taylorseer-5-lite"):
        assert found[id] == f"FluxImg2ImgPipeline {CONTEXT}"
    assert found["magcache-6"] is None
    timestep = "FluxImg2ImgPipeline does not tell at which timestep it is"
    assert found["pab-2"] == found["fastercache-2"] == timestep


def test_blocks_that_are_not_registered_have_neither_first_block_nor_magcache() -> None:
    import diffusers
    import torch

    with torch.device("meta"):
        chroma = diffusers.ChromaTransformer2DModel(num_layers=1, num_single_layers=1)
    found = reasons(cache, View(denoiser=chroma, record=tiny_model("flux")))
    reason = "diffusers has not registered ChromaTransformerBlock for this cache"
    assert found["first-block-8"] == found["magcache-6"] == reason
    assert found["taylorseer-3"] is None


def test_magnitude_ratios_are_known_for_flux_alone() -> None:
    assert reasons(cache, view_of("flux"))["magcache-6"] is None
    assert reasons(cache, view_of("flux", weights="random"))["magcache-6"] is None
    for model in (view_of("wan"), view_of("flux", family="demo")):
        name = model.record.family
        assert reasons(cache, model)["magcache-6"] == f"no magnitude ratios are known for {name}"
    with pytest.raises(ValueError, match="no magnitude ratios"):
        cache.apply(loaded("wan"), "magcache-6")


@pytest.mark.parametrize("id", ["pab-2", "fastercache-2"])
def test_what_would_mix_up_the_halves_of_guidance_is_not_offered_while_there_are_two(
    id: str,
) -> None:
    reason = "mixes up the halves of guidance: WanPipeline computes them in turn"
    assert reasons(cache, view_of("wan"))[id] == reason
    assert reasons(cache, view_of("wan", LONG.but(guidance=1.0)))[id] is None
    with pytest.raises(ValueError, match="halves of guidance"):
        cache.apply(loaded("wan"), id)


def test_seacache_is_offered_where_diffusers_has_an_adapter() -> None:
    assert reasons(cache, view_of("wan"))["seacache-25"] is None
    flux = reasons(cache, view_of("flux"))["seacache-25"]
    assert flux == "diffusers has no SeaCache adapter for this FluxTransformer2DModel"
    image_to_video = view_of("wan").module("transformer")
    image_to_video.register_to_config(in_channels=36)
    view = View(denoiser=image_to_video, record=tiny_model("wan"))
    said = reasons(cache, view)["seacache-25"]
    assert said == "diffusers has no SeaCache adapter for this WanTransformer3DModel"


# ---------------------------------------------------------------------------- what diffusers does


def test_taylorseer_finds_attention_that_its_own_patterns_miss() -> None:
    import diffusers

    target = loaded("wan")
    target.denoiser.enable_cache(diffusers.TaylorSeerCacheConfig(cache_interval=3))
    assert hooked(target.denoiser, "taylorseer") == []
    cache.apply(target, "taylorseer-3")
    names = attention_names(target.denoiser)
    assert len(names) == len(hooked(target.denoiser, "taylorseer")) == 4
    assert evidence(target, "taylorseer-3").engaged


def test_first_block_breaks_on_flux2_as_the_rule_says() -> None:
    import diffusers
    import torch

    model = diffusers.Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4),
    )
    model.enable_cache(diffusers.FirstBlockCacheConfig())
    with torch.no_grad(), model.cache_context("cond"), pytest.raises(TypeError, match="'list'"):
        model(
            hidden_states=torch.zeros(1, 4, 16),
            encoder_hidden_states=torch.zeros(1, 2, 32),
            timestep=torch.ones(1),
            img_ids=torch.zeros(1, 4, 4),
            txt_ids=torch.zeros(1, 2, 4),
            guidance=torch.ones(1),
        )
    software = {"diffusers": diffusers.__version__}
    candidate = {"cache": "first-block-8"}
    rule = broken_rule(candidate, device="cpu", family="flux2", software=software)
    assert rule is not None
    assert rule.id == "flux2-first-block"
    assert broken_rule(candidate, device="cpu", family="flux", software=software) is None


def test_the_ratios_of_magcache_are_those_of_the_workloads_steps() -> None:
    from diffusers.hooks.mag_cache import FLUX_MAG_RATIOS, nearest_interp

    target = loaded("flux")
    cache.apply(target, "magcache-12")
    config = target.denoiser._cache_config
    assert config.num_inference_steps == target.workload.steps == 9
    assert config.threshold == 0.12
    assert config.mag_ratios.tolist() == nearest_interp(FLUX_MAG_RATIOS, 9).tolist()


def test_a_cache_and_group_offload_work_together() -> None:
    import torch

    target = loaded("flux")
    cache.apply(target, "taylorseer-3")
    alone = run(target, "taylorseer-3")
    target.denoiser.enable_group_offload(
        onload_device=torch.device("cpu"), offload_type="leaf_level"
    )
    assert bool((run(target, "taylorseer-3") == alone).all())
    assert cache.engaged(target, "taylorseer-3").engaged


def test_text_keys_and_values_are_computed_once_for_a_prompt() -> None:
    import diffusers
    import torch

    target = loaded("flux")
    model = target.pipe.transformer = diffusers.NucleusMoEImageTransformer2DModel(
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        axes_dims_rope=(4, 6, 6),
        moe_enabled=False,
    )
    view = View(denoiser=model, record=target.model)
    assert reasons(cache, view)["text-kv"] is None
    cache.apply(target, "text-kv")
    prompt = torch.ones(1, 8, 32)
    watched = dict(cache.watched(target, "text-kv"))
    with (
        torch.no_grad(),
        clock.observing(target, make_meter(CPU), lambda: None, lambda _: None, watched) as seen,
    ):
        for timestep in (0.9, 0.5, 0.1):
            model(
                hidden_states=torch.ones(1, 16, 4),
                img_shapes=[(1, 4, 4)],
                encoder_hidden_states=prompt,
                timestep=torch.tensor([timestep]),
            )
    target.seen = seen.seen
    found = cache.engaged(target, "text-kv")
    assert found.engaged
    assert found.detail.endswith("the last one was computed in 1 of 3 passes")


def cogvideox() -> tuple[Any, Callable[[], dict[str, Any]]]:
    import diffusers
    import torch

    model = diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=4,
        out_channels=4,
        time_embed_dim=8,
        text_embed_dim=32,
        num_layers=2,
        sample_width=8,
        sample_height=8,
        sample_frames=5,
        max_text_seq_length=8,
    )
    return model, lambda: {
        "hidden_states": torch.ones(2, 2, 4, 8, 8),
        "encoder_hidden_states": torch.ones(2, 8, 32),
        "timestep": torch.tensor([500, 500]),
    }


def test_fastercache_is_told_how_cogvideox_lays_out_both_halves_of_guidance() -> None:
    import diffusers
    import torch

    model, inputs = cogvideox()
    record = tiny_model("flux").but(pipeline="CogVideoXPipeline", family="cogvideox")
    assert reasons(cache, View(denoiser=model, record=record))["fastercache-2"] is None
    timestep = 0.0
    model.enable_cache(
        diffusers.FasterCacheConfig(
            tensor_format=AXES["CogVideoXTransformer3DModel"],
            current_timestep_callback=lambda: timestep,
        )
    )
    passes = 0

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1

    hooked(model, "fastercache")[-1].to_q.register_forward_hook(count)
    for timestep in (999.0, 800.0, 600.0, 500.0, 400.0):  # noqa: B007 - the callback reads it
        with torch.no_grad(), model.cache_context("cond_uncond"):
            assert model(**inputs())[0].shape == (2, 2, 4, 8, 8)
    assert 0 < passes < 5
    flux = tiny_model("flux").but(pipeline="LTXPipeline", family="ltx")
    unknown = View(denoiser=view_of("flux").module("transformer"), record=flux)
    said = reasons(cache, unknown)["fastercache-2"]
    assert said == "it is not known how FluxTransformer2DModel lays out its frames"


# ----------------------------------------------------------------------------- set and taken off


def test_a_second_cache_takes_the_place_of_the_first() -> None:
    target = loaded("flux")
    cache.apply(target, "taylorseer-3")
    cache.apply(target, "pab-2")
    assert evidence(target, "pab-2").engaged
    assert not cache.engaged(target, "taylorseer-3").engaged
    assert hooked(target.denoiser, "taylorseer") == []


@pytest.mark.parametrize(("name", "id"), [("flux", "taylorseer-3"), ("sd15", "pab-2")])
def test_taking_a_cache_off_restores_the_exact_picture(name: str, id: str) -> None:
    target = loaded(name)
    plain = run(target, "none")
    assert cache.engaged(target, "none").engaged
    cache.apply(target, id)
    assert not cache.engaged(target, "none").engaged
    assert not bool((run(target, id) == plain).all())
    cache.apply(target, "none")
    assert cache.engaged(target, "none").engaged
    assert bool((run(target, "none") == plain).all())


def test_a_unet_starts_every_picture_with_an_empty_cache() -> None:
    target = loaded("sd15")  # nine steps: the second picture would begin at an odd count
    cache.apply(target, "pab-2")
    assert bool((run(target, "pab-2") == run(target, "pab-2")).all())
    registry = target.denoiser._diffusers_hook
    assert _TIMESTEP_HOOK in registry.hooks
    cache.apply(target, "none")
    assert registry.hooks == {}


def test_the_second_denoiser_gets_the_cache_too() -> None:
    target = loaded("wan", twin=True)
    cache.apply(target, "taylorseer-3")
    assert all(hooked(denoiser, "taylorseer") for denoiser in target.denoisers.values())
    assert {name.split(":")[0] for name in cache.watched(target, "taylorseer-3")} == {
        "cache inside transformer",
        "cache inside transformer_2",
    }
    target.denoisers["transformer_2"].disable_cache()
    assert not cache.engaged(target, "taylorseer-3").engaged


# ------------------------------------------------------------------------------------- evidence


def test_hooks_that_were_removed_are_missed() -> None:
    target = loaded("flux")
    cache.apply(target, "taylorseer-3")
    assert evidence(target, "taylorseer-3").engaged
    target.denoiser.disable_cache()
    assert not cache.engaged(target, "taylorseer-3").engaged


def test_a_cache_that_never_fires_is_not_engaged() -> None:
    target = loaded("flux")
    cache.apply(target, "first-block-8")  # random weights change too much from step to step
    found = evidence(target, "first-block-8")
    assert not found.engaged
    assert found.detail.endswith("the last one was computed in 9 of 9 passes")


def test_what_is_counted_lies_inside_the_hooked_module_and_is_counted_for_each_denoiser() -> None:
    target = loaded("flux")
    cache.apply(target, "taylorseer-5-lite")
    watched = cache.watched(target, "taylorseer-5-lite")
    assert watched
    assert target.denoiser.proj_out not in watched.values()
    inside = next(iter(watched))
    target.seen = {
        "transformer": Seen(calls=9, widest_output=()),
        inside: Seen(calls=9, widest_output=()),
    }
    assert not cache.engaged(target, "taylorseer-5-lite").engaged
    target.seen = {**target.seen, inside: Seen(calls=5, widest_output=())}
    assert cache.engaged(target, "taylorseer-5-lite").engaged


def test_where_nothing_could_be_counted_the_hooks_alone_are_the_evidence_and_it_says_so() -> None:
    target = loaded("flux")
    cache.apply(target, "taylorseer-3")
    target.seen = {"transformer": Seen(calls=9, widest_output=())}
    found = cache.engaged(target, "taylorseer-3")
    assert found.engaged
    assert found.detail.endswith("what they compute could not be counted")
