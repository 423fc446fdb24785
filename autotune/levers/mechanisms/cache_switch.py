"""Put a cache of diffusers on a denoiser, and take it off."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from autotune.levers.base import Target
from autotune.levers.mechanisms.cache_limits import halves_problem, ratios_problem
from autotune.levers.mechanisms.cache_parts import AXES, attention_names, hook_names, is_unet
from autotune.levers.mechanisms.passes import Passes, passes_in_a_step

_TIMESTEP_HOOK = "autotune_timestep"


def switch_on(technique: str, strength: int, lite: bool, denoiser: Any, target: Target) -> None:
    """Put the cache on a denoiser that has none.

    Raises:
        ValueError: Where diffusers would accept it and reuse what must not be reused.
    """
    pipeline, model = type(target.pipe), target.model
    problem = None
    if technique in ("pab", "fastercache"):
        problem = halves_problem(pipeline, target.workload)
    elif technique == "magcache":
        problem = ratios_problem(model)
    if problem:
        raise ValueError(problem)
    if technique == "pab" and is_unet(denoiser):
        _broadcast_on_unet(denoiser, strength)
    else:
        denoiser.enable_cache(_config(technique, strength, lite, denoiser, target))


def switch_off(denoiser: Any) -> None:
    """Take whatever cache there is off the denoiser."""
    if getattr(denoiser, "is_cache_enabled", False):
        denoiser.disable_cache()
    elif is_unet(denoiser) and hasattr(denoiser, "_diffusers_hook"):
        for name in (_TIMESTEP_HOOK, *hook_names("pab")):
            denoiser._diffusers_hook.remove_hook(name, recurse=True)


def _config(technique: str, strength: int, lite: bool, denoiser: Any, target: Target) -> Any:
    import diffusers

    if technique == "first-block":
        return diffusers.FirstBlockCacheConfig(threshold=strength / 100)
    if technique == "seacache":
        return diffusers.SeaCacheConfig(threshold=strength / 100)
    if technique == "magcache":
        from diffusers.hooks.mag_cache import FLUX_MAG_RATIOS

        return diffusers.MagCacheConfig(
            threshold=strength / 100,
            mag_ratios=FLUX_MAG_RATIOS,
            num_inference_steps=target.workload.steps,
        )
    if technique == "taylorseer":
        if lite:
            return diffusers.TaylorSeerCacheConfig(cache_interval=strength, use_lite_mode=True)
        # The default patterns miss attention called attn1 and attn2 (B84).
        named = [re.escape(name) for name in attention_names(denoiser)]
        return diffusers.TaylorSeerCacheConfig(cache_interval=strength, cache_identifiers=named)
    if technique == "fastercache":
        joined = passes_in_a_step(type(target.pipe), target.workload) is Passes.JOINED
        return diffusers.FasterCacheConfig(
            spatial_attention_block_skip_range=strength,
            current_timestep_callback=_timestep_of(target.pipe),
            is_guidance_distilled=not joined,
            tensor_format=AXES.get(type(denoiser).__name__, "BCHW"),
        )
    if technique == "pab":
        return _broadcast_config(strength, _timestep_of(target.pipe))
    return diffusers.TextKVCacheConfig()


def _broadcast_config(strength: int, timestep: Callable[[], float]) -> Any:
    import diffusers

    return diffusers.PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=strength,
        cross_attention_block_skip_range=strength,
        current_timestep_callback=timestep,
    )


def _timestep_of(pipe: Any) -> Callable[[], float]:
    """A function that says at which timestep the pipeline is.

    The timestep lies on the device: it is fetched once a step, not once an attention module.
    """
    last: Any = None
    known = math.inf

    def current() -> float:
        nonlocal last, known
        now = pipe.current_timestep
        if now is not last:
            last, known = now, math.inf if now is None else float(now)
        return known

    return current


def _broadcast_on_unet(unet: Any, strength: int) -> None:
    """PAB on a denoiser whose pipeline neither tells the timestep nor resets caches."""
    from diffusers.hooks import HookRegistry, ModelHook, apply_pyramid_attention_broadcast

    class TimestepHook(ModelHook):  # type: ignore[misc]
        """Notes the timestep of a pass; where it rises, another picture has begun."""

        timestep = -math.inf

        def pre_forward(self, module: Any, *arguments: Any, **named: Any) -> Any:
            now = named["timestep"] if "timestep" in named else arguments[1]
            now = float(now.max() if hasattr(now, "max") else now)
            if now > self.timestep:
                registry.reset_stateful_hooks()
            self.timestep = now
            return arguments, named

    registry = HookRegistry.check_if_exists_or_initialize(unet)
    hook = TimestepHook()
    registry.register_hook(hook, _TIMESTEP_HOOK)
    config = _broadcast_config(strength, lambda: hook.timestep)
    apply_pyramid_attention_broadcast(unet, config)
