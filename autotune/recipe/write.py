"""Writes a recipe: the same recipe always as the same bytes, whole or not at all (R8, R9)."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from autotune.errors import AutotuneError, BadRecipe
from autotune.files import canonical_json, digest, pretty_json, write_atomic
from autotune.recipe.private import blank_out, cut, each_text
from autotune.recipe.read import DIGEST, parse_recipe
from autotune.recipe.schema import Recipe

#: Texts for people, in which the messages of exceptions end up.
_EXPLANATIONS = ("reason", "why", "detail")


def render_recipe(recipe: Recipe) -> bytes:
    """The bytes of a recipe, with the digest of everything else in them.

    Paths and tokens in texts are blanked out, and explanations cut. The bytes were read back:
    what is written can be read.

    Raises:
        AutotuneError: If the reader would refuse it, which is a bug of whoever made it.
    """
    dumped = recipe.model_dump(mode="json")
    body = cast("dict[str, object]", each_text(dumped, _fit))
    data = pretty_json({**body, DIGEST: digest(canonical_json(body))})
    try:
        parse_recipe(data, name="the recipe to be written")
    except BadRecipe as error:
        raise AutotuneError(
            f"this recipe could not be read again: {error.message}",
            hint="please report it; the trials are kept in the run folder",
        ) from error
    return data


def _fit(path: str, text: str) -> str:
    clean = blank_out(text)
    return cut(clean) if path.endswith(_EXPLANATIONS) else clean


def write_recipe(recipe: Recipe, path: Path, *, overwrite: bool = False) -> None:
    """Write a recipe to a file.

    Raises:
        BadInput: If the file exists and may not be replaced, or cannot be written there.
        CannotRun: If the disk is full or fails.
    """
    write_atomic(path, render_recipe(recipe), overwrite=overwrite)
