"""How pipelines run their denoisers, read from the classes of the installed diffusers."""

from __future__ import annotations

import pytest

from autotune.levers.mechanisms.passes import (
    Passes,
    knows_its_timestep,
    opens_cache_context,
    passes_in_a_step,
    pipeline_class,
    tells_steps_to_caches,
)
from autotune.records import Workload


@pytest.mark.parametrize(
    ("pipeline", "guidance", "passes"),
    [
        ("FluxPipeline", 3.5, Passes.ONE),
        ("WanPipeline", 5.0, Passes.TWO),
        ("WanPipeline", None, Passes.TWO),
        ("WanPipeline", 1.0, Passes.ONE),
        ("QwenImagePipeline", 4.0, Passes.TWO),
        ("QwenImagePipeline", 1.0, Passes.ONE),
        ("HunyuanImagePipeline", 3.25, Passes.TWO),
        ("HunyuanVideoPipeline", 6.0, Passes.ONE),
        ("StableDiffusionPipeline", 7.5, Passes.JOINED),
        ("StableDiffusionXLPipeline", 5.0, Passes.JOINED),
        ("CogVideoXPipeline", 6.0, Passes.JOINED),
        ("MochiPipeline", 4.5, Passes.JOINED),
        ("LTXPipeline", 3.0, Passes.JOINED),
    ],
)
def test_the_halves_of_guidance_are_joined_or_computed_in_turn(
    pipeline: str, guidance: float | None, passes: Passes
) -> None:
    found = passes_in_a_step(pipeline_class(pipeline), Workload(guidance=guidance))
    assert found is passes


@pytest.mark.parametrize(
    ("pipeline", "context", "steps", "timestep"),
    [
        ("FluxPipeline", True, False, True),
        ("WanPipeline", True, True, True),
        ("Flux2KleinPipeline", True, False, True),
        ("Flux2Pipeline", False, False, True),
        ("FluxImg2ImgPipeline", False, False, False),
        ("StableDiffusionPipeline", False, False, False),
    ],
)
def test_what_a_pipeline_tells_caches(
    pipeline: str, context: bool, steps: bool, timestep: bool
) -> None:
    kind = pipeline_class(pipeline)
    assert opens_cache_context(kind) is context
    assert tells_steps_to_caches(kind) is steps
    assert knows_its_timestep(kind) is timestep
