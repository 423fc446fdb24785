"""Where a cache cannot work, read from the real classes of the model (levers.md, A9 and A13)."""

from __future__ import annotations

import inspect
import re
from typing import Any

from autotune.levers.base import ModelView
from autotune.levers.mechanisms.cache_parts import AXES, attention_names, is_unet, repeated_blocks
from autotune.levers.mechanisms.passes import (
    Passes,
    knows_its_timestep,
    opens_cache_context,
    passes_in_a_step,
    pipeline_class,
    tells_steps_to_caches,
)
from autotune.records import Model, Workload

#: Below that there is nothing to skip, and what is skipped shows (unsloth#6703; B87).
FEWEST_STEPS = 8
#: What they reuse is decided by the values that were computed, which random weights do not have.
_BY_VALUE = ("first-block", "seacache")


def problem(technique: str, lite: bool, view: ModelView) -> str | None:
    """Why the technique does not work on the model, or for its workload."""
    denoiser = view.module(view.record.denoiser)
    steps = view.workload.steps
    if steps < FEWEST_STEPS:
        return f"pays from about {FEWEST_STEPS} steps on, this workload has {steps}"
    if not hasattr(denoiser, "enable_cache") and not (technique == "pab" and is_unet(denoiser)):
        return f"{type(denoiser).__name__} takes no cache of this kind"
    if technique in _BY_VALUE and view.record.weights == "random":
        return "depends on activations, and these weights are random"
    pipeline = pipeline_class(view.record.pipeline)
    if technique == "taylorseer":
        return _no_context(pipeline) or _taylorseer_problem(denoiser, lite)
    if technique in ("pab", "fastercache"):
        return _broadcast_problem(technique, denoiser, pipeline, view.workload)
    if technique == "seacache":
        return _seacache_problem(denoiser, pipeline)
    if technique == "text-kv":
        return _text_kv_problem(denoiser)
    if technique == "magcache":
        return ratios_problem(view.record) or _blocks_problem(denoiser)
    return _no_context(pipeline) or _blocks_problem(denoiser)


def ratios_problem(model: Model) -> str | None:
    """Why MagCache has nothing to go by: ratios belong to one family, and are printed, not saved.

    With those of another family it skips the wrong steps (B88).
    """
    if model.family == "flux":
        return None
    return f"no magnitude ratios are known for {model.family or model.pipeline}"


def halves_problem(pipeline: Any, workload: Workload) -> str | None:
    """Why what one half of guidance computed would be taken for the other.

    The state of these caches is not kept apart by cache context. Seen on a tiny Wan, 12 steps: the
    picture is 0.007 off, with TaylorSeer, which skips twice as much, 0.0002.
    """
    if passes_in_a_step(pipeline, workload) is not Passes.TWO:
        return None
    return f"mixes up the halves of guidance: {pipeline.__name__} computes them in turn"


def _no_context(pipeline: Any) -> str | None:
    if opens_cache_context(pipeline):
        return None
    return f"{pipeline.__name__} opens no cache context, which this cache needs"


def _blocks_problem(denoiser: Any) -> str | None:
    from diffusers.hooks._helpers import TransformerBlockRegistry

    blocks = list(repeated_blocks(denoiser))
    for kind in dict.fromkeys(map(type, blocks)):
        try:
            TransformerBlockRegistry.get(kind)
        except ValueError:
            return f"diffusers has not registered {kind.__name__} for this cache"
    if len(blocks) < 2:
        return f"needs two repeated blocks, {type(denoiser).__name__} has {len(blocks)}"
    return None


def _taylorseer_problem(denoiser: Any, lite: bool) -> str | None:
    from diffusers.hooks.taylorseer_cache import _BLOCK_IDENTIFIERS, _PROJ_OUT_IDENTIFIERS

    kind = type(denoiser).__name__
    if not lite:
        return None if attention_names(denoiser) else f"{kind} has no attention that it knows"
    names = [name for name, _ in denoiser.named_modules()]
    for patterns in (_BLOCK_IDENTIFIERS, _PROJ_OUT_IDENTIFIERS):
        if not any(re.fullmatch(pattern, name) for pattern in patterns for name in names):
            return f"{kind} has no module named like {patterns[0]}"
    return None


def _broadcast_problem(
    technique: str, denoiser: Any, pipeline: Any, workload: Workload
) -> str | None:
    if not is_unet(denoiser):
        if not knows_its_timestep(pipeline):
            return f"{pipeline.__name__} does not tell at which timestep it is"
        if not attention_names(denoiser):
            return f"{type(denoiser).__name__} has no attention that it knows"
    if reason := halves_problem(pipeline, workload):
        return reason
    joined = passes_in_a_step(pipeline, workload) is Passes.JOINED
    return _axes_problem(denoiser) if technique == "fastercache" and joined else None


def _axes_problem(denoiser: Any) -> str | None:
    kind = type(denoiser).__name__
    return None if kind in AXES else f"it is not known how {kind} lays out its frames"


def _seacache_problem(denoiser: Any, pipeline: Any) -> str | None:
    from diffusers.hooks.sea_cache import apply_sea_cache

    kind, config = type(denoiser).__name__, denoiser.config
    built_in = f" {kind}" in inspect.getsource(apply_sea_cache)
    if not built_in or getattr(config, "in_channels", 0) != getattr(config, "out_channels", 0):
        return f"diffusers has no SeaCache adapter for this {kind}"
    if not tells_steps_to_caches(pipeline):
        return f"{pipeline.__name__} does not tell caches the step and its noise level"
    return None


def _text_kv_problem(denoiser: Any) -> str | None:
    kinds = {type(module).__name__ for module in denoiser.modules()}
    if "NucleusMoEImageTransformerBlock" in kinds:
        return None
    return f"made for NucleusMoE alone, this is {type(denoiser).__name__}"
