"""What a study takes from a book of recipes, its first candidates, and what it puts into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from autotune.errors import AutotuneError, BadInput, shorten

if TYPE_CHECKING:
    from autotune.fleet.book import Book
    from autotune.records import Candidate
    from autotune.search.listener import Listener
    from autotune.search.request import Request
    from autotune.search.study import Result

#: A book by its place, the default one, or none.
Place = str | Path | Literal[False] | None
#: How many recipes are read, and how many that choose something else are kept: more than a study
#: starts from, since some come to the same here.
_READ, _KEPT = 16, 6


def check_book(place: Place, *, add: bool) -> None:
    """Find out before the work whether the book that was named is there, or can be made.

    Raises:
        AutotuneError: If it is not, or cannot.
    """
    from autotune.fleet.book import open_book

    if not (place or add):
        return  # nobody asked for it, so it need not be there
    book = open_book(place or None)
    if add:
        book.store.make()
    elif not book.store.exists():
        raise BadInput(
            f"there is no book in {shorten(book.store.place, 200)}",
            hint="autotune book add RECIPE --book FOLDER makes one; --no-book uses none",
        )


def with_starts(requests: Sequence[Request], model: str, place: Place) -> list[Request]:
    """The requests with what the nearest recipes of a book chose, for each budget.

    Args:
        requests: One for each budget.
        model: As it was given.
        place: The book. The default one is only used if it is there and can be read.

    Raises:
        AutotuneError: If a book was named and cannot be read.
    """
    from autotune.fleet.book import open_book

    if place is False:
        return list(requests)
    try:
        book = open_book(place)
        if place is None and not book.store.exists():
            return list(requests)
        found = [_starts(request, model, book) for request in requests]
    except AutotuneError as error:
        if place is not None:
            raise
        return [
            replace(request, said=(f"no book is used: {error.message}",)) for request in requests
        ]
    skipped = len(book.skipped)
    said = (f"{skipped} broken files are skipped in the book {book.store.place}",)
    return [
        replace(request, starts=starts, said=said if skipped else ())
        for request, starts in zip(requests, found, strict=True)
    ]


def _starts(request: Request, model: str, book: Book) -> tuple[Candidate, ...]:
    """What the nearest recipes chose that fit the budget, whatever they were to be best at."""
    from autotune.fleet.find import Wanted, find
    from autotune.fleet.row import sizes_of
    from autotune.lookup import names_of

    named = names_of(model)
    wanted = Wanted(
        device=request.device,
        here=request.fingerprint,
        models=named.models | {request.model.id.casefold()},
        skeletons=named.skeletons,
        budget_bytes=request.budget_bytes,
        host_bytes=request.ram_bytes,
        sizes=sizes_of(request.model.workload),
        quality=None,
        objective=None,
    )
    answer = find(book, wanted, most=_READ)
    found = {tuple(sorted(one.recipe.choices.items())): one.recipe.choices for one in answer.found}
    return tuple(map(dict, list(found.values())[:_KEPT]))


def add_confirmed(results: Sequence[Result], place: Place, listener: Listener) -> None:
    """Put the recipes of a study that were confirmed into a book, and say so.

    Raises:
        AutotuneError: If the book cannot be written; the recipes themselves are where they were.
    """
    from autotune.fleet.book import open_book

    confirmed = [one for one in results if one.status == "ok" and one.recipe is not None]
    if not confirmed:
        listener.said("nothing was confirmed, so nothing is added to the book")
        return
    try:
        added = open_book(place or None).add([one.recipe for one in confirmed if one.recipe])
    except AutotuneError as error:
        paths = " ".join(str(one.recipe_path) for one in confirmed)
        raise type(error)(
            f"nothing was added to the book: {error.message}", hint=f"autotune book add {paths}"
        ) from None
    for one in added:
        listener.said(f"{'added to' if one.new else 'already in'} the book: {one.address}")
