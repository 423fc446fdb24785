"""Build a pipeline with its levers, and call it for a workload."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from autotune.levers import load_levers
from autotune.levers.base import Target
from autotune.levers.mechanisms.torch_names import torch_device
from autotune.records import Evidence, Stage, Workload
from autotune.trial.prepared import remember
from autotune.trial.quantized import quantization_arguments

#: Between the seeds of a batch: more than a trial has samples.
_APART = 10_000_019
#: Samples in a row.
_OF_ONE_PROMPT = 2


def build_pipeline(target: Target, choices: Mapping[str, str]) -> None:
    """Load the model with the choices' load stage and apply the other stages in order.

    Sets ``target.pipe``. The folder is local and nothing is downloaded. A candidate without a
    lever that places the pipeline gets all of it onto the device.
    """
    levers = [(lever, choices[name]) for name, lever in load_levers().items() if name in choices]
    placed = False
    for stage in Stage:
        if stage is Stage.BUILD:
            target.pipe = _load(target)
        if stage is Stage.COMPILE and not placed:
            target.pipe.to(torch_device(target.device))
        for lever, choice in levers:
            if lever.stage is stage:
                lever.apply(target, choice)
                placed = placed or stage is Stage.PLACE


def _load(target: Target) -> Any:
    import diffusers

    kind = getattr(diffusers, target.model.pipeline)
    pipe = kind.from_pretrained(
        target.model.folder,
        local_files_only=True,
        use_safetensors=True,
        **target.load_arguments,
        **quantization_arguments(target),
    )
    remember(target, pipe)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def watched(target: Target, choices: Mapping[str, str]) -> dict[str, Any]:
    """The modules whose calls the levers want counted, by the names they gave them."""
    found: dict[str, Any] = {}
    for name, lever in load_levers().items():
        if name in choices and hasattr(lever, "watched"):
            found |= lever.watched(target, choices[name])
    return found


def engagement(target: Target, choices: Mapping[str, str]) -> dict[str, Evidence]:
    """Ask every lever for the evidence that its choice took effect."""
    return {
        name: lever.engaged(target, choices[name])
        for name, lever in load_levers().items()
        if name in choices
    }


def caller(pipe: Any, workload: Workload, multiple: int = 1) -> Callable[[int], Any]:
    """A function of the sample number that generates once, ``multiple`` batches in one call.

    Sample ``n`` uses seed ``workload.seed + n``, and every two the next prompt, the same for every
    candidate: four pictures are of two prompts and two seeds each, and the first two, of one
    prompt, have to differ. Of a batch every picture has a seed of its own, so that the first is
    the same however many are made. Arguments the pipeline does not know are left out.
    """
    import torch

    parameters = inspect.signature(pipe.__call__).parameters
    known = {name: one.default for name, one in parameters.items()}
    fixed = call_arguments(known, workload, multiple)
    pictures = pictures_of(fixed)
    fixed |= {"output_type": "pt"} if "output_type" in known else {}

    def generate(number: int) -> Any:
        prompt = workload.prompts[number // _OF_ONE_PROMPT % len(workload.prompts)]
        seeds = seeds_of(workload, pictures, number)
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        one = generators[0] if pictures == 1 else generators
        return pipe(prompt=prompt, generator=one, **fixed)

    return generate


def call_arguments(
    known: Mapping[str, object], workload: Workload, multiple: int = 1
) -> dict[str, Any]:
    """What the pipeline is called with, beside prompt and seeds.

    Args:
        known: The names of its arguments with their defaults.
        workload: What is generated.
        multiple: How many of its batches one call makes.
    """
    batch = workload.batch * multiple
    wanted = {
        "height": workload.height,
        "width": workload.width,
        "num_frames": workload.frames,
        "num_inference_steps": workload.steps,
        _guidance_argument(known): workload.guidance,
        "num_images_per_prompt": batch if workload.frames is None else None,
        "num_videos_per_prompt": batch if workload.frames is not None else None,
        "max_sequence_length": workload.max_sequence_length,
        # The size is the workload's: PixArt and Sana would make another one and shrink it.
        "use_resolution_binning": False,
    }
    fixed: dict[str, Any] = {
        name: value for name, value in wanted.items() if value is not None and name in known
    }
    if "true_cfg_scale" in fixed:
        fixed["negative_prompt"] = " "  # without one the second pass, half of the work, is skipped
    return fixed


def pictures_of(arguments: Mapping[str, Any]) -> int:
    """How many pictures, or videos, a call with these arguments makes."""
    images = arguments.get("num_images_per_prompt", 1)
    return int(arguments.get("num_videos_per_prompt", images))


def seeds_of(workload: Workload, pictures: int, number: int = 0) -> list[int]:
    """The seed of every picture of a sample."""
    return [workload.seed + number + _APART * place for place in range(pictures)]


def _guidance_argument(known: Mapping[str, object]) -> str:
    """What the pipeline calls its guidance: Qwen-Image and HunyuanImage have names of their own.

    Flux takes ``true_cfg_scale`` too, switched off by default; there guidance is the other one.
    """
    true_scale = known.get("true_cfg_scale")
    if isinstance(true_scale, float) and true_scale > 1:
        return "true_cfg_scale"
    if "distilled_guidance_scale" in known and "guidance_scale" not in known:
        return "distilled_guidance_scale"
    return "guidance_scale"
