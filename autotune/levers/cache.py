"""cache: reuse what the denoiser computed in an earlier step.

All but ``text-kv`` change the picture, and compete with simply taking fewer steps: the report
compares the two (numbers.md, E). Disabling restores the exact output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autotune.levers.base import ChoiceMaker, ModelView, Target
from autotune.levers.mechanisms.cache_code import cache_told
from autotune.levers.mechanisms.cache_limits import problem
from autotune.levers.mechanisms.cache_parts import any_hooks, hooked
from autotune.levers.mechanisms.cache_switch import switch_off, switch_on
from autotune.levers.plan import Plan
from autotune.levers.script import Script
from autotune.records import Choice, Device, Evidence, Fidelity, Stage

name = "cache"
what = "reuse what the denoiser computed in an earlier step"
stage = Stage.WRAP


@dataclass(frozen=True, kw_only=True)
class _Setting:
    """A technique, and how strongly it is used: hundredths of its threshold, or an interval."""

    technique: str
    what: str
    strength: int = 0
    lite: bool = False
    fidelity: Fidelity = Fidelity.BALANCED


_FIRST_BLOCK = "skip the other blocks where the first one changes by less than"
_SETTINGS: Mapping[str, _Setting] = {
    "first-block-5": _Setting(technique="first-block", strength=5, what=f"{_FIRST_BLOCK} 5 %"),
    "first-block-8": _Setting(technique="first-block", strength=8, what=f"{_FIRST_BLOCK} 8 %"),
    "first-block-12": _Setting(
        technique="first-block",
        strength=12,
        what=f"{_FIRST_BLOCK} 12 %",
        fidelity=Fidelity.ANY,
    ),
    "taylorseer-3": _Setting(
        technique="taylorseer", strength=3, what="extrapolate attention, compute each third step"
    ),
    "taylorseer-5": _Setting(
        technique="taylorseer",
        strength=5,
        what="extrapolate attention, compute each fifth step",
        fidelity=Fidelity.ANY,
    ),
    "taylorseer-5-lite": _Setting(
        technique="taylorseer",
        strength=5,
        lite=True,
        what="extrapolate the last layer, compute each fifth step",
        fidelity=Fidelity.ANY,
    ),
    "pab-2": _Setting(technique="pab", strength=2, what="compute attention each second time"),
    "pab-4": _Setting(
        technique="pab",
        strength=4,
        what="compute attention each fourth time",
        fidelity=Fidelity.ANY,
    ),
    "fastercache-2": _Setting(
        technique="fastercache",
        strength=2,
        what="compute attention each second time, and guidance each fifth",
    ),
    "magcache-6": _Setting(
        technique="magcache", strength=6, what="skip steps whose known change is below 6 %"
    ),
    "magcache-12": _Setting(
        technique="magcache",
        strength=12,
        what="skip steps whose known change is below 12 %",
        fidelity=Fidelity.ANY,
    ),
    "seacache-25": _Setting(
        technique="seacache", strength=25, what="skip steps while the spectrum changes by 25 %"
    ),
    "text-kv": _Setting(
        technique="text-kv",
        what="compute keys and values of the prompt once",
        fidelity=Fidelity.EXACT,
    ),
}
#: Outputs of a block that each technique keeps, once for the denoiser and once for each block (the
#: states of diffusers 0.42.1). First-block: output and residual of the first block, residual of
#: the rest. MagCache: what went into the blocks, and a residual. TaylorSeer: two orders for every
#: attention. PAB: the output of every attention. FasterCache: two of them; what it keeps of
#: the whole is as small as the latents. SeaCache: what went in, and residuals of two passes. The
#: keys and values of a prompt are small.
_KEPT: Mapping[str, tuple[float, float]] = {
    "first-block": (3.0, 0.0),
    "magcache": (2.0, 0.0),
    "taylorseer": (0.0, 2.0),
    "pab": (0.0, 1.0),
    "fastercache": (0.0, 2.0),
    "seacache": (3.0, 0.0),
    "text-kv": (0.0, 0.0),
}
#: In NucleusMoE the text goes through modules of its own; the rest runs in every pass.
_TEXT_ONLY = ("encoder_proj", "attn.add_k_proj", "attn.add_v_proj")


def by_schedule(choice: str) -> bool:
    """See Lever: what is computed in one step is used in others."""
    return choice != "none"


def choices(device: Device, view: ModelView | None) -> Sequence[Choice]:
    """No cache, or one technique at one strength."""
    choice = ChoiceMaker(lever=name)
    return (
        choice("none", "compute every step", baseline=True),
        *(
            choice(
                id,
                setting.what,
                unless=problem(setting.technique, setting.lite, view) if view else None,
                fidelity=setting.fidelity,
            )
            for id, setting in _SETTINGS.items()
        ),
    )


def apply(target: Target, choice: str) -> None:
    """Put the cache on every denoiser, in the place of any other: a second one would raise."""
    for denoiser in target.denoisers.values():
        switch_off(denoiser)
        if choice != "none":
            one = _SETTINGS[choice]
            switch_on(one.technique, one.strength, one.lite, denoiser, target)


def watched(target: Target, choice: str) -> Mapping[str, Any]:
    """The linear layers in the last module of each denoiser that it may skip."""
    found: dict[str, Any] = {}
    if choice == "none":
        return found
    technique = _SETTINGS[choice].technique
    for component, denoiser in target.denoisers.items():
        for path, module in _last_layers(hooked(denoiser, technique), technique):
            found[f"{_layer_key(component)}{path}"] = module
    return found


def engaged(target: Target, choice: str) -> Evidence:
    """Its hooks are there, and what they wrap was computed less often than the denoiser ran."""
    if choice == "none":
        left = sum(any_hooks(denoiser) for denoiser in target.denoisers.values())
        return Evidence(engaged=left == 0, detail=f"{left} modules with hooks of a cache")
    technique = _SETTINGS[choice].technique
    counts = [len(hooked(denoiser, technique)) for denoiser in target.denoisers.values()]
    hooks = f"{sum(counts)} modules with hooks of {technique}"
    if not counts or min(counts) == 0:
        return Evidence(engaged=False, detail=hooks)
    passes = sum(_calls(target, component) for component in target.denoisers)
    computed = sum(_most_calls(target, component) for component in target.denoisers)
    if not computed:
        # A cache computes at least the first step: the counters ran beside a compiled module.
        return Evidence(engaged=True, detail=f"{hooks}; what they compute could not be counted")
    return Evidence(
        engaged=computed < passes,
        detail=f"{hooks}; the last one was computed in {computed} of {passes} passes",
    )


def code(script: Script, choice: str) -> Script:
    """The configuration, and what tells it where the pipeline is."""
    if choice == "none":
        return script
    one = _SETTINGS[choice]
    return cache_told(script, one.technique, one.strength, lite=one.lite)


def plan(plan: Plan, choice: str) -> Plan:
    """What is kept from one step for the next ones."""
    if choice == "none" or _SETTINGS[choice].lite:
        return plan  # lite keeps what the last layer makes, which is as small as the latents
    technique = _SETTINGS[choice].technique
    whole, every = _KEPT[technique]
    denoiser = plan.parts.get(plan.model.denoiser)
    if technique == "taylorseer" and denoiser is not None and denoiser.dtype == "fp32":
        every /= 2  # in bf16, whatever is computed in
    # The forward that MagCache hooks is shut to the compiler (levers.md B59).
    hooked = technique == "magcache"
    return plan.but(kept_outputs=whole, kept_per_block=every, hooked=hooked)


def _last_layers(hooked: Sequence[Any], technique: str) -> list[tuple[str, Any]]:
    """The linear layers inside the last of the modules that has any.

    Not the module itself: it is called in every pass, whatever its hook does.
    """
    import torch

    for module in reversed(hooked):
        layers = [
            (path, layer)
            for path, layer in module.named_modules()
            if isinstance(layer, torch.nn.Linear) and layer is not module
        ]
        if layers:
            return [one for one in layers if technique != "text-kv" or one[0] in _TEXT_ONLY]
    return []


def _layer_key(component: str) -> str:
    return f"cache inside {component}: "


def _calls(target: Target, module: str) -> int:
    return target.seen[module].calls if module in target.seen else 0


def _most_calls(target: Target, component: str) -> int:
    """The most calls of any layer that was watched: one may be there and unused (fused QKV)."""
    names = [name for name in target.seen if name.startswith(_layer_key(component))]
    return max((_calls(target, name) for name in names), default=0)
