"""Every lever autotune knows, in the order in which levers of one stage are applied."""

from __future__ import annotations

import functools
import importlib
import re
import traceback
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from autotune.levers.base import Lever, ModelView
    from autotune.records import Candidate, Choice, Device

#: One row a lever. Within a stage this is the order of application (levers.md, A1).
BUILT_IN = (
    "dtype",
    "checkpoint",
    "quantize_denoiser",
    "quantize_text_encoder",
    "quantize_other_encoders",
    "quantize_vae",
    "vae_model",
    "allocator",
    "matmul_precision",
    "cudnn_benchmark",
    "vae_dtype",
    "fuse_qkv",
    "channels_last",
    "vae_tiling",
    "vae_slicing",
    "attention",
    "attention_slicing",
    "cache",
    "layerwise_casting",
    "text_encoders",
    "offload",
    "compile",
    "compile_vae",
    "batch",
)
GROUP = "autotune.levers"
#: It is typed as ``--set name=choice`` and stands in recipes.
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def load_levers() -> Mapping[str, Lever]:
    """All levers by name, in order of application; third-party ones that load come last."""
    return _load()[0]


def broken_levers() -> Mapping[str, str]:
    """Third-party levers that cannot be used, each with its reason (shown by ``doctor``)."""
    return _load()[1]


def is_built_in(lever: Lever) -> bool:
    """Whether the lever is ours."""
    return lever in map(_built_in, BUILT_IN)


@functools.cache
def _load() -> tuple[Mapping[str, Lever], Mapping[str, str]]:
    from autotune.records import Stage

    levers = {lever.name: lever for lever in map(_built_in, BUILT_IN)}
    broken = {}
    for entry in entry_points(group=GROUP):
        # A broken plugin, also one that exits when imported, must not take the rest down.
        try:
            lever = _checked(entry.load(), entry.value)
            if lever.name in levers:
                raise ValueError(f"there is a lever named {lever.name} already")
            levers[lever.name] = lever
        except (Exception, SystemExit) as error:
            broken[f"{entry.name} = {entry.value}"] = f"{type(error).__name__}: {error}"
    order = list(Stage)
    ordered = sorted(levers.values(), key=lambda lever: order.index(lever.stage))
    return {lever.name: lever for lever in ordered}, broken


def _built_in(module: str) -> Lever:
    return cast("Lever", importlib.import_module(f"autotune.levers.{module}"))


def _checked(candidate: object, source: str) -> Lever:
    from autotune.levers.base import Lever
    from autotune.records import Stage

    if not isinstance(candidate, Lever):
        raise TypeError(f"{source} lacks a member of autotune.levers.base.Lever")
    if not isinstance(candidate.name, str) or not _NAME.fullmatch(candidate.name):
        raise TypeError(f"{source} has a name other than small letters, digits and dashes")
    if not isinstance(candidate.stage, Stage):
        raise TypeError(f"{source} has a stage that is not an autotune.records.Stage")
    return candidate


def start_up_s(choices: Candidate) -> float:
    """Seconds by which the candidate's first calls may be longer than the others."""
    levers = load_levers()
    seconds = 0.0
    for name, choice in choices.items():
        start_up = getattr(levers.get(name), "start_up_s", None)
        seconds += start_up(choice) if start_up else 0.0
    return seconds


def by_schedule(choices: Candidate) -> bool:
    """Whether the candidate's steps differ in what they cost."""
    levers = load_levers()
    asked = ((getattr(levers.get(name), "by_schedule", None), id) for name, id in choices.items())
    return any(ask(id) for ask, id in asked if ask)


def offered_choices(device: Device, view: ModelView | None) -> dict[str, tuple[Choice, ...]]:
    """What every lever offers on the device, and for the model if one is given.

    A third-party lever that fails to answer is left out, with its traceback on standard error. A
    built-in one that fails is a bug, or a model that cannot be used, and must be seen.
    """
    offered = {}
    for name, lever in load_levers().items():
        try:
            offered[name] = tuple(lever.choices(device, view))
        except Exception:
            if is_built_in(lever):
                raise
            traceback.print_exc()
    return offered
