"""Look a recipe up: exact, near, neighbour; the fastest that fits first.

The index says where to look. What is answered was read strictly from the recipe itself.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from autotune.errors import CannotRun, shorten
from autotune.fleet.book import Book, Entry, same_row
from autotune.fleet.index import Index, NotAnIndex
from autotune.fleet.row import SIZES, Row, sizes_of
from autotune.probe.fingerprint import Difference, compare
from autotune.recipe.schema import Recipe
from autotune.records import Device, Fidelity, Fingerprint

Match = Literal["exact", "near", "neighbour"]
#: In the order in which they are preferred.
MATCHES: tuple[Match, ...] = ("exact", "near", "neighbour")
#: As `SIZES`; ``None`` where nobody asked for one.
Sizes = tuple[int | None, ...]
#: A workload whose product of sizes differs by less is as near as another.
_ALIKE = 0.05
#: An index that lies, then one that was overtaken by a writer.
_ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is looked for, and on what.

    ``models`` are ids in small letters; of ``skeletons``, folders of such names, only those with
    random weights count. ``sizes`` are width, height, frames, steps and batch, ``None`` where any
    will do. Without ``quality`` or ``objective`` any will do. ``host_bytes`` are what the host has
    beside the device.
    """

    device: Device
    here: Fingerprint
    models: frozenset[str]
    skeletons: frozenset[str] = frozenset()
    revision: str | None = None
    budget_bytes: int
    host_bytes: int | None = None
    sizes: Sizes = (None,) * len(SIZES)
    quality: Fidelity | None = Fidelity.BALANCED
    objective: str | None = "steady"


@dataclass(frozen=True, kw_only=True)
class Found:
    """A recipe that may be used here, and how far its numbers reach.

    ``workload`` says in words what of it differs, ``notes`` what the recipe does not promise.
    """

    entry: Entry
    match: Match
    differences: tuple[Difference, ...]
    workload: tuple[str, ...]

    @property
    def recipe(self) -> Recipe:
        """The recipe."""
        return self.entry.recipe

    @property
    def seconds(self) -> float:
        """The time that counts by the recipe's objective."""
        return self.recipe.evidence.winner.seconds(self.recipe.aim)

    @property
    def status(self) -> str:
        """What its numbers are worth here, in words."""
        if self.recipe.status == "provisional":
            return "provisional"
        if self.match == "neighbour":
            return "untested here"
        return "emulated" if self.recipe.budget.emulated else "confirmed on this card"

    @property
    def notes(self) -> tuple[str, ...]:
        """What else the recipe does not promise."""
        recipe = self.recipe
        found = [
            f"needs the {one.kind} file that was given for {one.component}: {one.digest[:19]}"
            for one in recipe.model.given
        ]
        if recipe.model.weights == "random":
            found.append("measured with random weights: quality is not assessed")
        if recipe.budget.emulated and self.status != "emulated":
            found.append("its budget was emulated on a larger device")
        if recipe.evidence.quality.asked is None:
            found.append("it does not say how much pictures were allowed to change")
        return tuple(found)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a lookup found, the best first, and what it left out.

    ``matching`` counts the recipes that may be used, ``found`` are the first of them.
    ``left_out`` counts the others of the model by the reason; of those that need more memory,
    the leanest takes ``leanest_bytes``.
    """

    found: tuple[Found, ...]
    matching: int
    left_out: Mapping[str, int]
    leanest_bytes: int | None


TOO_LARGE = "need more memory"
_ELSEWHERE = "were measured on another architecture"
_REVISION = "are of another revision"
_OBJECTIVE = "have another objective"
_QUALITY = "may change pictures more"


def find(book: Book, wanted: Wanted, *, most: int = 10) -> Answer:
    """The recipes of a book that may be used here, the best first.

    Args:
        book: Where to look; what is broken in it is noted there as skipped.
        wanted: What is looked for.
        most: How many are read and told.

    Raises:
        AutotuneError: If there is no book, or it cannot be read.
    """
    for attempt in range(_ATTEMPTS):
        # One lie of the index is enough: then every recipe is read.
        index = book.index(anew=attempt > 0)
        try:
            return _answer(book, index, wanted, most)
        except NotAnIndex:
            continue
    raise CannotRun(
        f"the book {shorten(book.store.place, 200)} changes while it is read",
        hint="run the command again",
    )


def _answer(book: Book, index: Index, wanted: Wanted, most: int) -> Answer:
    usable: list[tuple[Row, Match]] = []
    left_out: Counter[str] = Counter()
    leanest: list[int] = []
    rows = index.about(wanted.models | wanted.skeletons)
    distances = _Distances(index, wanted)
    for row in rows:
        if row.model not in wanted.models and (row.weights, row.source) != ("random", "folder"):
            continue  # a folder of that name with somebody's own weights
        match = distances.match(row)
        why = _against(row, match, wanted)
        if match is None or why is not None:
            left_out[why or _ELSEWHERE] += 1
            if why == TOO_LARGE:
                leanest.append(row.peak_bytes)
            continue
        usable.append((row, match))
    usable.sort(key=lambda one: _rank(one[0], one[1], wanted))
    found: list[Found] = []
    for row, match in usable:
        if len(found) >= most:
            break
        entry = book.try_entry(row.name)
        if entry is None:
            continue
        if not same_row(row, entry) or index.machine(row.machine) != entry.recipe.fingerprint:
            raise NotAnIndex(row.name)
        found.append(_found(entry, match, wanted))
    return Answer(
        found=tuple(found),
        matching=len(usable),
        left_out=left_out,
        leanest_bytes=min(leanest, default=None),
    )


class _Distances:
    """How far the machines of an index are from this one, each looked at once."""

    def __init__(self, index: Index, wanted: Wanted) -> None:
        self._index, self._wanted = index, wanted
        self._known: dict[int, Match | None] = {}

    def match(self, row: Row) -> Match | None:
        """The class of a recipe; ``None`` where it says nothing of this device."""
        if row.machine not in self._known:
            recorded = self._index.machine(row.machine)
            self._known[row.machine] = match_of(recorded, self._wanted.here)
        return self._known[row.machine]


def match_of(recorded: Fingerprint, here: Fingerprint) -> Match | None:
    """How near a machine is to the one that measured, as far as the device is concerned."""
    differences = compare(recorded, here)
    if not differences:
        return "exact"
    if all(one.severity == "near" for one in differences):
        return "near"
    return "neighbour" if _same_architecture(recorded, here) else None


def _same_architecture(recorded: Fingerprint, here: Fingerprint) -> bool:
    """Whether what runs on one may be hoped to run on the other, memory aside."""
    theirs, ours = recorded.device, here.device
    if theirs.get("kind") != ours.get("kind"):
        return False
    capability = theirs.get("compute_capability"), ours.get("compute_capability")
    if None not in capability:
        return capability[0] == capability[1]
    if theirs.get("kind") != "cpu":
        return theirs.get("name") == ours.get("name")
    features = [
        set(str(one.get("cpu_features", "")).split()) for one in (recorded.host, here.host)
    ]
    return recorded.host.get("arch") == here.host.get("arch") and features[0] <= features[1]


def _against(row: Row, match: Match | None, wanted: Wanted) -> str | None:
    """Why a recipe of the model is none for here, if anything stands against it."""
    if wanted.revision is not None and not row.revision.startswith(wanted.revision):
        return _REVISION
    if match is None:
        return _ELSEWHERE
    if wanted.objective is not None and row.objective != wanted.objective:
        return _OBJECTIVE
    asked = wanted.quality
    if asked is not None and row.quality and not asked.allows(Fidelity(row.quality)):
        return _QUALITY
    host = wanted.host_bytes
    if row.peak_bytes > wanted.budget_bytes or (host is not None and row.host_bytes > host):
        return TOO_LARGE
    return None


def _rank(row: Row, match: Match, wanted: Wanted) -> tuple[int, int, bool, float, str]:
    """The nearest machine, the nearest workload, what was confirmed, then the fastest."""
    return (
        MATCHES.index(match),
        _distance(row.workload, wanted.sizes),
        row.provisional,
        row.seconds,
        row.name,
    )


def _distance(recorded: Sequence[int], asked: Sizes) -> int:
    """0 where the workload is the same; else more, the more there is to compute or the less."""
    pairs = [(old, new) for old, new in zip(recorded, asked, strict=True) if new is not None]
    if all(old == new for old, new in pairs):
        return 0
    ratio = sum(math.log(max(old, 1) / max(new, 1)) for old, new in pairs)
    return 1 + round(abs(ratio) / _ALIKE)


def _found(entry: Entry, match: Match, wanted: Wanted) -> Found:
    pairs = zip(SIZES, sizes_of(entry.recipe.workload), wanted.sizes, strict=True)
    return Found(
        entry=entry,
        match=match,
        differences=compare(entry.recipe.fingerprint, wanted.here),
        workload=tuple(
            f"{name} is {old or 'none'}, asked for is {new or 'none'}"
            for name, old, new in pairs
            if new is not None and old != new
        ),
    )
