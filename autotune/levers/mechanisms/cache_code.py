"""A cache of diffusers as code: what `cache_switch` does, to be read."""

from __future__ import annotations

from autotune.levers.mechanisms.cache_limits import ratios_problem
from autotune.levers.mechanisms.cache_parts import AXES
from autotune.levers.script import Call, Expression, Name, Script, Untold, call

_TIMESTEP = '''
class Timestep:
    """At which timestep the pipeline is, fetched from the device once a step."""

    def __init__(self, pipe):
        self.pipe, self.last, self.known = pipe, None, math.inf

    def __call__(self):
        now = self.pipe.current_timestep
        if now is not self.last:
            self.last, self.known = now, math.inf if now is None else float(now)
        return self.known
'''
_ON_UNET = '''
class TimestepHook(diffusers.hooks.ModelHook):
    """Notes the timestep of a pass; where it rises, another picture has begun."""

    timestep = -math.inf

    def __init__(self, registry):
        super().__init__()
        self.registry = registry

    def pre_forward(self, module, *args, **kwargs):
        now = kwargs["timestep"] if "timestep" in kwargs else args[1]
        now = float(now.max() if hasattr(now, "max") else now)
        if now > self.timestep:
            self.registry.reset_stateful_hooks()
        self.timestep = now
        return args, kwargs
'''
#: The default patterns miss attention called attn1 and attn2.
_NAMES = """\
common = diffusers.hooks._common
names = [
    re.escape(name)
    for name, module in {denoiser}.named_modules()
    if isinstance(module, common._ATTENTION_CLASSES)
    and name.partition(".")[0] in common._ALL_TRANSFORMER_BLOCK_IDENTIFIERS
]"""


def cache_told(script: Script, technique: str, strength: int, *, lite: bool) -> Script:
    """A script that puts the cache on every denoiser.

    Raises:
        Untold: If there is nothing that MagCache could go by.
    """
    script = script.but(hooked=script.hooked | set(script.model.denoisers))
    if technique == "pab" and script.class_of(script.model.denoiser) == "UNet2DConditionModel":
        return _broadcast_on_unet(script, strength)
    if technique in ("pab", "fastercache"):
        script = script.importing("math").defining(_TIMESTEP)
    for denoiser in script.denoisers:
        if technique == "taylorseer" and not lite:
            script = script.importing("re").then(_NAMES.format(denoiser=denoiser))
        config = _config(script, technique, strength, lite)
        script = script.then(call(f"{denoiser}.enable_cache", config))
    return script


def _config(script: Script, technique: str, strength: int, lite: bool) -> Call:
    threshold = strength / 100
    timestep = call("Timestep", Name("pipe"))
    if technique == "first-block":
        return call("diffusers.FirstBlockCacheConfig", threshold=threshold)
    if technique == "seacache":
        return call("diffusers.SeaCacheConfig", threshold=threshold)
    if technique == "magcache":
        if problem := ratios_problem(script.model):
            raise Untold(problem)
        return call(
            "diffusers.MagCacheConfig",
            threshold=threshold,
            mag_ratios=Name("diffusers.hooks.mag_cache.FLUX_MAG_RATIOS"),
            num_inference_steps=script.workload.steps,
        )
    if technique == "taylorseer":
        kind: dict[str, Expression] = (
            {"use_lite_mode": True} if lite else {"cache_identifiers": Name("names")}
        )
        return call("diffusers.TaylorSeerCacheConfig", cache_interval=strength, **kind)
    if technique == "fastercache":
        axes = AXES.get(script.class_of(script.model.denoiser))
        guidance = script.workload.guidance
        # It is offered for both halves of guidance at once only where their axes are known.
        joined = axes is not None and (guidance is None or guidance > 1)
        return call(
            "diffusers.FasterCacheConfig",
            spatial_attention_block_skip_range=strength,
            current_timestep_callback=timestep,
            is_guidance_distilled=not joined,
            tensor_format=axes or "BCHW",
        )
    if technique == "pab":
        return _broadcast(strength, timestep)
    return call("diffusers.TextKVCacheConfig")


def _broadcast(strength: int, timestep: Expression) -> Call:
    return call(
        "diffusers.PyramidAttentionBroadcastConfig",
        spatial_attention_block_skip_range=strength,
        cross_attention_block_skip_range=strength,
        current_timestep_callback=timestep,
    )


def _broadcast_on_unet(script: Script, strength: int) -> Script:
    config = _broadcast(strength, Name("lambda: hook.timestep"))
    registry = "diffusers.hooks.HookRegistry.check_if_exists_or_initialize"
    return (
        script.importing("math")
        .defining(_ON_UNET)
        .then(
            f"registry = {registry}({script.denoiser})",
            "hook = TimestepHook(registry)",
            call("registry.register_hook", Name("hook"), "timestep"),
            call(
                "diffusers.hooks.apply_pyramid_attention_broadcast", Name(script.denoiser), config
            ),
        )
    )
