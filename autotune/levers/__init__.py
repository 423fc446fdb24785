"""Every lever autotune knows, in the order in which levers of one stage are applied."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from autotune.levers.base import Lever

#: One row a lever. Within a stage this is the order of application (levers.md, A1).
BUILT_IN = (
    "dtype",
    "channels_last",
    "vae_tiling",
    "vae_slicing",
    "attention",
    "attention_slicing",
)
GROUP = "autotune.levers"


@cache
def load_levers() -> Mapping[str, Lever]:
    """All levers by name, in order of application; third-party ones that load come last."""
    levers = [_built_in(module) for module in BUILT_IN]
    for entry in entry_points(group=GROUP):
        try:
            levers.append(_checked(entry.load(), entry.value))
        except Exception:
            continue  # a broken plugin must not take the rest down; broken_levers() names it
    stages = list(type(levers[0].stage))
    ordered = sorted(levers, key=lambda lever: stages.index(lever.stage))
    return {lever.name: lever for lever in ordered}


def broken_levers() -> Mapping[str, str]:
    """Third-party levers that cannot be used, each with its reason (shown by ``doctor``)."""
    broken = {}
    for entry in entry_points(group=GROUP):
        try:
            _checked(entry.load(), entry.value)
        except Exception as error:
            broken[f"{entry.name} = {entry.value}"] = f"{type(error).__name__}: {error}"
    return broken


def _built_in(module: str) -> Lever:
    return cast("Lever", importlib.import_module(f"autotune.levers.{module}"))


def _checked(candidate: object, source: str) -> Lever:
    from autotune.levers.base import Lever

    if not isinstance(candidate, Lever):
        raise TypeError(f"{source} lacks a member of autotune.levers.base.Lever")
    return candidate
