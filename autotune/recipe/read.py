"""Reads a recipe, whatever the bytes: one document, strict, bounded, nothing imported or run.

The promises R1 to R7 are kept here. What a file says is compared with what is expected;
nothing in it is ever looked up, followed or executed.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from pydantic import ValidationError

from autotune.errors import BadInput, BadRecipe, shorten
from autotune.files import canonical_json, digest, parse_json, read_capped
from autotune.recipe.claims import untrue
from autotune.recipe.explain import explain
from autotune.recipe.looks import looks_like
from autotune.recipe.private import each_text, find_private
from autotune.recipe.schema import FORMAT, KIND, Recipe
from autotune.strict_json import FORMS, check_format

#: A full recipe takes a tenth of this.
CAP_BYTES = 256 * 1024
DIGEST = "digest"
#: Keys for other programs: neither read nor covered by the digest. Top level only.
FOREIGN = "x-"

_WHAT_IT_IS = "a recipe is the JSON file that `autotune suggest` writes"


def read_recipe(path: Path, *, accept_modified: bool = False) -> Recipe:
    """Read a recipe from a file.

    Args:
        path: A regular file of at most 256 KiB.
        accept_modified: Read it although its digest is missing or wrong. The recipe then says
            so itself, for ever.

    Raises:
        BadInput: If the file cannot be read.
        BadRecipe: If it is not a recipe that can be trusted.
    """
    data = read_capped(path, CAP_BYTES)
    return parse_recipe(data, accept_modified=accept_modified, name=shorten(path.name))


def parse_recipe(
    data: bytes, *, accept_modified: bool = False, name: str = "the recipe"
) -> Recipe:
    """Read a recipe from bytes; ``name`` is what messages call it.

    Raises:
        BadRecipe: Whatever the bytes are, if they are not a recipe that can be trusted.
    """
    document = _document(data, name)
    claimed = document.pop(DIGEST, None)
    for key in [key for key in document if key.startswith(FOREIGN)]:
        del document[key]
    body = canonical_json(document)
    try:
        recipe = Recipe.model_validate_json(body)
    except ValidationError as error:
        raise explain(error, document, name) from None
    if claimed != digest(body):
        if not accept_modified:
            wrong = "has no digest" if claimed is None else "does not match its digest"
            raise BadRecipe(
                f"{name} {wrong}: it was changed after it was written",
                hint="use the file as it was written, or add --accept-modified",
            )
        recipe = recipe.but(modified=True)
    _refuse_private(document, name)
    if problem := untrue(recipe):
        raise BadRecipe(
            f"{name} cannot be true: {problem}", hint="measure it again with `autotune suggest`"
        )
    return recipe


def _document(data: bytes, name: str) -> dict[str, object]:
    """One JSON object that says it is a recipe of a format that is known here."""
    if len(data) > CAP_BYTES:
        raise BadRecipe(f"{name} is larger than 256 KiB", hint=_WHAT_IT_IS)
    if looks := looks_like(data):
        raise BadRecipe(f"{name} is not an autotune recipe but {looks}", hint=_WHAT_IT_IS)
    try:
        document = parse_json(data, what=name)
    except BadInput as error:
        hint = _WHAT_IT_IS if error.hint == FORMS else error.hint
        raise BadRecipe(error.message, hint=hint) from None
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise BadRecipe(f"{name} is not an autotune recipe but other JSON", hint=_WHAT_IT_IS)
    try:
        check_format(document.get("format"), known=FORMAT, what=name)
    except BadInput as error:
        raise BadRecipe(error.message, hint=error.hint) from None
    return cast("dict[str, object]", document)


def _refuse_private(document: dict[str, object], name: str) -> None:
    def refuse(path: str, text: str) -> str:
        if private := find_private(text):
            raise BadRecipe(
                f"{name} holds {private} in {path or 'a key'}",
                hint="a recipe is made to be shared: take it out",
            )
        return text

    each_text(document, refuse)
