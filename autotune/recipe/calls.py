"""What pipelines take when they are called, as far as a workload says anything of it."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping

from autotune.errors import CannotRun
from autotune.models.catalog import find_pipeline

#: Pipelines of the catalogue that differ from the others (diffusers 0.42.1).
_NO_LENGTH = ("HunyuanImagePipeline", "StableDiffusionPipeline", "StableDiffusionXLPipeline")
_BINNING = ("PixArtSigmaPipeline", "SanaPipeline", "SanaSprintPipeline")
_GUIDANCE: Mapping[str, Mapping[str, object]] = {
    "QwenImagePipeline": {"guidance_scale": None, "true_cfg_scale": 4.0},
    "HunyuanImagePipeline": {"distilled_guidance_scale": 3.25},
}


def arguments_of(pipeline: str) -> Mapping[str, object]:
    """The names of the arguments that a workload may set, with their defaults where they matter.

    Of a pipeline of the catalogue they are known, of another one diffusers is asked.

    Raises:
        CannotRun: If it cannot be asked.
    """
    entry = find_pipeline(pipeline)
    if entry is None:
        return _asked(pipeline)
    known: dict[str, object] = {"height": None, "width": None, "num_inference_steps": 0}
    known |= _GUIDANCE.get(pipeline, {"guidance_scale": None})
    if entry.default.frames is None:
        known["num_images_per_prompt"] = 1
    else:
        known |= {"num_frames": 0, "num_videos_per_prompt": 1}
    if pipeline not in _NO_LENGTH:
        known["max_sequence_length"] = 0
    if pipeline in _BINNING:
        known["use_resolution_binning"] = True
    return known


def _asked(pipeline: str) -> Mapping[str, object]:
    try:
        kind = getattr(importlib.import_module("diffusers"), pipeline)
    except (ImportError, AttributeError):
        raise CannotRun(
            f"how {pipeline} is called is not known here, and diffusers has none that could be "
            "asked",
            hint="install the diffusers of the recipe and run this again",
        ) from None
    parameters = inspect.signature(kind.__call__).parameters
    return {name: one.default for name, one in parameters.items()}
