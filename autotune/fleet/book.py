"""A book of recipes. The recipes are the truth: written whole, named by what they say.

Any number of processes may add to a book and read it. Whatever is killed in between leaves at
worst a file that nobody reads, or an index that lacks a recipe: the next one who looks mends it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from autotune.errors import AutotuneError, BadInput, BadRecipe, one_line, shorten
from autotune.fleet.index import CAP_BYTES, NAME, Index, NotAnIndex, read_index
from autotune.fleet.row import Row, row_of
from autotune.fleet.store import BY_DIGEST, Listing, Store, default_book, open_store
from autotune.recipe import read, write
from autotune.recipe.schema import Recipe

#: So many new recipes are read before what was learnt of them is kept: a minute's work at most.
_SAVE_EVERY = 5_000
#: What to do about a recipe that is not to be trusted.
_OUT = "take it out of the book, or put it back as `autotune suggest` wrote it"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A recipe of a book, read strictly."""

    name: str
    address: str
    recipe: Recipe


@dataclass(frozen=True, kw_only=True)
class Added:
    """Where a recipe lies in the book; ``new`` unless it lay there already."""

    name: str
    address: str
    new: bool


@dataclass(kw_only=True)
class Book:
    """A book of one place. ``skipped`` names the files that were passed over, with the reason."""

    store: Store
    skipped: dict[str, str] = field(default_factory=dict)

    def add(self, recipes: Sequence[Recipe]) -> list[Added]:
        """Put recipes into the book, which is made if there is none.

        Raises:
            BadRecipe: If one was changed by hand: what it says was not measured.
            BadInput: If the book cannot be written, and then none was added after that one.
        """
        for recipe in recipes:
            if recipe.modified:
                raise BadRecipe(
                    "a recipe that was changed by hand has no place in a book",
                    hint="measure it first: autotune verify RECIPE --out FILE",
                )
        self.store.make()
        added = [self._write(recipe) for recipe in recipes]
        with self.store.locked(patient=True) as alone:
            self._refreshed(save=alone)
        return added

    def entry(self, name: str) -> Entry:
        """Read a recipe of the book strictly.

        Raises:
            AutotuneError: If it cannot be read, is not a recipe, or is not what its name says.
        """
        data = self.store.read(name, read.CAP_BYTES)
        recipe = read.parse_recipe(data, name=shorten(name))
        if recipe.modified:
            raise BadRecipe("it was changed by hand", hint=_OUT)
        if BY_DIGEST.fullmatch(name) and f"sha256:{name[:-5]}" != _digest_in(data):
            raise BadRecipe("its name is not its digest", hint=_OUT)
        return Entry(name=name, address=self.store.address(name), recipe=recipe)

    def entries(self) -> Iterator[Entry]:
        """Every recipe of the book; what is none is skipped and noted."""
        listing = self._listing()
        for name in sorted(listing.stamps):
            entry = self.try_entry(name)
            if entry is not None:
                yield entry

    def try_entry(self, name: str) -> Entry | None:
        """Read a recipe of the book, or note why it is skipped."""
        try:
            return self.entry(name)
        except AutotuneError as error:
            # What was pruned meanwhile is gone, and not broken.
            if name in self.store.listing().stamps:
                self.skipped[name] = one_line(error.message)
            return None

    def index(self, *, anew: bool = False) -> Index:
        """The index, right for what lies in the book now.

        Args:
            anew: Read every recipe, whatever an earlier index says.
        """
        with self.store.locked(patient=False) as alone:
            return self._refreshed(save=alone, anew=anew)

    def _write(self, recipe: Recipe) -> Added:
        data = write.render_recipe(recipe)
        name = f"{_digest_in(data).removeprefix('sha256:')}.json"
        added = Added(name=name, address=self.store.address(name), new=True)
        try:
            if self.store.read(name, read.CAP_BYTES) == data:
                return replace(added, new=False)
        except AutotuneError:
            pass  # not there, or not what it should be
        self.store.write(name, data)
        return added

    def _listing(self) -> Listing:
        if not self.store.exists():
            raise BadInput(
                f"there is no book in {shorten(self.store.place, 200)}",
                hint="autotune book add RECIPE makes one, --book FOLDER names another",
            )
        listing = self.store.listing()
        self.skipped.update(listing.odd)
        return listing

    def _refreshed(self, *, save: bool, anew: bool = False) -> Index:
        """Read what the index does not know, and keep it where nobody else is about to."""
        stamps = self._listing().stamps
        index = Index() if anew else self._kept()
        known = index.stamps
        if not anew and known == stamps:
            return index
        gone = known.keys() - stamps.keys()
        for name in gone:
            del index.rows[name]
        learnt = 0
        for name, stamp in stamps.items():
            if known.get(name) == stamp and not anew:
                continue
            index.rows.pop(name, None)
            # What is broken has no row: it may be a write that is under way.
            entry = self.try_entry(name)
            if entry is not None:
                machine = index.number_of(entry.recipe.fingerprint)
                index.put(row_of(entry.recipe, name, stamp, machine))
                learnt += 1
                if save and learnt % _SAVE_EVERY == 0:
                    self._keep(index)
        if save and (learnt or gone or anew):
            self._keep(index)
        return index

    def _kept(self) -> Index:
        try:
            return read_index(self.store.read(NAME, CAP_BYTES))
        except (AutotuneError, NotAnIndex):
            return Index()

    def _keep(self, index: Index) -> None:
        try:
            self.store.write(NAME, index.to_bytes())
        except AutotuneError:
            pass  # a full disk, or a book that may only be read: the recipes are there


def open_book(place: str | Path | None) -> Book:
    """The book of a folder or URL, or the default one; it need not be there yet.

    Raises:
        BadInput: If there cannot be a book of that name.
    """
    return Book(store=open_store(default_book() if place is None else place))


def same_row(row: Row, entry: Entry) -> bool:
    """Whether the index says of a recipe what it says itself."""
    return row == row_of(entry.recipe, entry.name, row.stamp, row.machine)


def _digest_in(data: bytes) -> str:
    """What a recipe that was read, or rendered, claims to be; its reader has compared it."""
    return str(json.loads(data)[read.DIGEST])
