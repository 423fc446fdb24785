"""Turns what the schema says of a document into one sentence with the dotted path."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from autotune.errors import BadRecipe, shorten
from autotune.recipe.schema import Recipe
from autotune.records import Record

#: Which of several faults is told first: the one that most likely explains the others.
_FIRST = {"extra_forbidden": 0, "missing": 1}


def explain(error: ValidationError, document: object, name: str) -> BadRecipe:
    """The error for the most telling fault of a document that does not fit the schema."""
    faults = error.errors(include_url=False, include_context=False)
    fault = min(faults, key=lambda one: _FIRST.get(one["type"], 2))
    if fault["type"] == "extra_forbidden":
        return _unknown_key(fault, name)
    if fault["type"] == "missing":
        return BadRecipe(
            f"{name} lacks the key {_dotted(fault['loc'])}",
            hint="use the file as `autotune suggest` wrote it",
        )
    path = _dotted(_existing(fault["loc"], document))
    return BadRecipe(
        f"{name} says {shorten(fault['input'])} in {path}, which {_wish(fault)}",
        hint="use the file as `autotune suggest` wrote it",
    )


def _unknown_key(fault: ErrorDetails, name: str) -> BadRecipe:
    *parents, key = fault["loc"]
    known = sorted(_keys_at(parents))
    close = difflib.get_close_matches(str(key), known, n=1)
    path = shorten(_dotted(fault["loc"]), 120)
    return BadRecipe(
        f"{name} has an unknown key {path}",
        hint=f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known)}",
    )


def _wish(fault: ErrorDetails) -> str:
    if fault["type"] == "string_pattern_mismatch":
        return "is not a name that can stand there"
    # "Input should be …", "String should …": the subject is told already.
    _, should, rest = fault["msg"].partition("should ")
    return f"{should}{rest}" if should else "cannot stand there"


def _keys_at(parents: Sequence[str | int]) -> set[str]:
    record: type[Record] = Recipe
    for part in parents:
        field = record.model_fields.get(str(part))
        if field is not None:
            record = next(_records_in(field.annotation), record)
    return set(record.model_fields)


def _records_in(annotation: object) -> Iterator[type[Record]]:
    if isinstance(annotation, type) and issubclass(annotation, Record):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _records_in(part)


def _existing(location: Sequence[str | int], document: Any) -> list[str | int]:
    """The part of a location that is in the document; the rest names types of the schema."""
    path: list[str | int] = []
    for part in location:
        try:
            document = document[part]
        except (KeyError, IndexError, TypeError):
            break
        path.append(part)
    return path


def _dotted(location: Sequence[str | int]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".")
