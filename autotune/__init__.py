"""autotune: the fastest setup of a diffusers pipeline that fits the memory you have, measured.

    import autotune

    result = autotune.suggest("flux", vram="12GB")
    pipe = autotune.build(result.recipe)

Everything is imported on first use, so that ``import autotune`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autotune.api import (
        apply,
        build,
        compare,
        load_recipe,
        suggest,
        suggest_each,
        verify,
    )
    from autotune.errors import (
        AutotuneError,
        BadInput,
        BadRecipe,
        CannotRun,
        ModelUnavailable,
        NoResult,
        NothingFits,
        RecipeMismatch,
    )
    from autotune.lookup import find_recipe
    from autotune.probe import probe_machine as probe
    from autotune.recipe.export import export
    from autotune.recipe.schema import Recipe

__version__ = "0.1.0"

_HOMES = {
    **dict.fromkeys(
        ("suggest", "suggest_each", "load_recipe", "build", "apply", "verify", "compare"),
        "autotune.api",
    ),
    **dict.fromkeys(
        (
            "AutotuneError",
            "BadInput",
            "BadRecipe",
            "CannotRun",
            "ModelUnavailable",
            "NoResult",
            "NothingFits",
            "RecipeMismatch",
        ),
        "autotune.errors",
    ),
    "find_recipe": "autotune.lookup",
    "Recipe": "autotune.recipe.schema",
    "export": "autotune.recipe.export",
}

__all__ = [
    "AutotuneError",
    "BadInput",
    "BadRecipe",
    "CannotRun",
    "ModelUnavailable",
    "NoResult",
    "NothingFits",
    "Recipe",
    "RecipeMismatch",
    "apply",
    "build",
    "compare",
    "export",
    "find_recipe",
    "load_recipe",
    "probe",
    "suggest",
    "suggest_each",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name == "probe":  # the package of that name is callable
        return importlib.import_module("autotune.probe")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'autotune' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
