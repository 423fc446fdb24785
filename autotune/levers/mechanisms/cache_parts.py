"""What the caches of diffusers find in a denoiser, and the hooks they leave there."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

#: By technique, the module of diffusers.hooks that has it.
TECHNIQUES = {
    "first-block": "first_block_cache",
    "taylorseer": "taylorseer_cache",
    "pab": "pyramid_attention_broadcast",
    "fastercache": "faster_cache",
    "magcache": "mag_cache",
    "seacache": "sea_cache",
    "text-kv": "text_kv_cache",
}
#: FasterCache splits both halves of guidance by frames, and must be told the axes.
AXES = {
    "CogVideoXTransformer3DModel": "BFCHW",
    "MochiTransformer3DModel": "BCFHW",
}


def hook_names(technique: str) -> set[str]:
    """What the hooks of a technique are called in a module's registry."""
    module = importlib.import_module(f"diffusers.hooks.{TECHNIQUES[technique]}")
    return {
        value
        for name, value in vars(module).items()
        if name.endswith("_HOOK") and isinstance(value, str)
    }


def hooked(denoiser: Any, technique: str) -> list[Any]:
    """The modules inside the denoiser that carry a hook of the technique, in order."""
    names = hook_names(technique)
    return [
        module
        for module in denoiser.modules()
        if module is not denoiser and names & _hooks_of(module)
    ]


def any_hooks(denoiser: Any) -> int:
    """How many modules carry a hook of any cache."""
    names = set().union(*map(hook_names, TECHNIQUES))
    return sum(bool(names & _hooks_of(module)) for module in denoiser.modules())


def _hooks_of(module: Any) -> set[str]:
    registry = getattr(module, "_diffusers_hook", None)
    return set(registry.hooks) if registry is not None else set()


def repeated_blocks(denoiser: Any) -> Iterator[Any]:
    """The repeated blocks that caches look for."""
    from diffusers.hooks._common import _ALL_TRANSFORMER_BLOCK_IDENTIFIERS

    for name, child in denoiser.named_children():
        if name in _ALL_TRANSFORMER_BLOCK_IDENTIFIERS and hasattr(child, "__iter__"):
            yield from child


def attention_names(denoiser: Any) -> list[str]:
    """The names of the attention modules in the repeated blocks."""
    from diffusers.hooks._common import _ALL_TRANSFORMER_BLOCK_IDENTIFIERS, _ATTENTION_CLASSES

    return [
        name
        for name, module in denoiser.named_modules()
        if isinstance(module, _ATTENTION_CLASSES)
        and name.partition(".")[0] in _ALL_TRANSFORMER_BLOCK_IDENTIFIERS
    ]


def is_unet(denoiser: Any) -> bool:
    """Whether it is the UNet of Stable Diffusion, which has no caches of its own."""
    return type(denoiser).__name__ == "UNet2DConditionModel"
