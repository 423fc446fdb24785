"""How a pipeline runs its denoiser, read from the source of its class."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from autotune.records import Workload

_CALLS = re.compile(r"\b(?:self\.transformer|self\.unet|current_model)\(")
#: Both halves of guidance side by side in one batch: ``torch.cat([latents] * 2)``.
_JOINED = re.compile(r"\[latents\w*\]\s*\*\s*2")


class Passes(StrEnum):
    """What the denoiser does in one step."""

    ONE = "one pass"
    JOINED = "one pass over both halves of guidance"
    TWO = "one pass with the prompt and one without"


def pipeline_class(name: str) -> Any:
    """The pipeline of that name in diffusers."""
    import diffusers

    return getattr(diffusers, name)


def passes_in_a_step(pipeline: Any, workload: Workload) -> Passes:
    """How often, and over what, the denoiser runs in one step of this workload."""
    parameters = inspect.signature(pipeline.__call__).parameters
    source = inspect.getsource(pipeline.__call__)
    if "guider" in source:
        return Passes.TWO  # the guider decides while it runs; two is what may be
    if not _guided(parameters, workload):
        return Passes.ONE
    if len(_CALLS.findall(source)) > 1:
        return Passes.TWO
    return Passes.JOINED if _JOINED.search(source) else Passes.ONE


def _guided(parameters: Mapping[str, inspect.Parameter], workload: Workload) -> bool:
    """Whether there is a half without the prompt, as the workload calls the pipeline."""
    true_scale = parameters.get("true_cfg_scale")
    if true_scale is not None and not _above_one(true_scale.default):
        return False  # switched off by default, as in Flux, where guidance is an input
    argument = true_scale or parameters.get("guidance_scale")
    if argument is None:
        return False
    return _above_one(argument.default if workload.guidance is None else workload.guidance)


def _above_one(value: object) -> bool:
    return isinstance(value, (int, float)) and value > 1


def opens_cache_context(pipeline: Any) -> bool:
    """Whether the pipeline tells caches which half of guidance is being computed."""
    return "cache_context(" in inspect.getsource(pipeline.__call__)


def tells_steps_to_caches(pipeline: Any) -> bool:
    """Whether it also tells them the number and the noise level of the step."""
    source = inspect.getsource(pipeline.__call__)
    return "cache_context(" in source and '"step_index"' in source


def knows_its_timestep(pipeline: Any) -> bool:
    """Whether the timestep can be read while it generates."""
    return hasattr(pipeline, "current_timestep")
