"""Which recipes of a book nobody would be answered with any more, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from autotune.errors import CannotRun, shorten
from autotune.fleet.book import Book, Entry
from autotune.fleet.row import sizes_of
from autotune.probe.fingerprint import compare
from autotune.records import Fidelity, Fingerprint

#: Times that were not confirmed, and peaks of two processes, differ by so much for no reason.
_NOISE = 0.03
#: Of these a newer release takes the place of an older one on the same card.
_RELEASED = ("software.torch", "software.diffusers")


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """A recipe that goes, and the one that is better, with the reason in words."""

    entry: Entry
    better: Entry
    why: str


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """What goes, what stays, and the temporary files that killed writers left."""

    gone: tuple[Pruned, ...]
    kept: int
    leftovers: tuple[str, ...]


def prune(book: Book, *, dry_run: bool = False) -> Pruning:
    """Take what is superseded out of a book, or only say what would go.

    Every recipe is read; what cannot be read is noted as skipped, and stays.

    Raises:
        CannotRun: If another process holds the book.
        AutotuneError: If there is no book, or it cannot be written.
    """
    if not book.store.exists():
        book.index()  # says so
    with book.store.locked(patient=True) as alone:
        if not alone and not dry_run:
            raise CannotRun(
                f"the book {shorten(book.store.place, 200)} cannot be locked: another process "
                "holds it, or it may only be read",
                hint="run the command again later, or look with --dry-run",
            )
        entries = list(book.entries())
        gone = superseded(entries)
        leftovers = book.store.leftovers()
        if not dry_run:
            for one in gone:
                book.store.remove(one.entry.name)
            for name in leftovers:
                book.store.remove(name)
    if gone and not dry_run:
        book.index()
    return Pruning(gone=tuple(gone), kept=len(entries) - len(gone), leftovers=leftovers)


def superseded(entries: Iterable[Entry]) -> list[Pruned]:
    """The recipes for which there is a better one, the better ones among those that stay."""
    groups: dict[tuple[object, ...], list[Entry]] = {}
    for entry in entries:
        groups.setdefault(_group(entry), []).append(entry)
    gone = []
    for group in groups.values():
        kept: list[Entry] = []
        for entry in sorted(group, key=_worth):
            found = next(((one, why) for one in kept if (why := _why(entry, one))), None)
            if found is None:
                kept.append(entry)
            else:
                gone.append(Pruned(entry=entry, better=found[0], why=found[1]))
    return sorted(gone, key=lambda one: one.entry.name)


def _group(entry: Entry) -> tuple[object, ...]:
    """What has to be equal for one recipe to stand for another."""
    recipe = entry.recipe
    model, device = recipe.model, recipe.fingerprint.device
    return (
        (model.id.casefold(), model.revision, model.weights, model.given),
        (sizes_of(recipe.workload), recipe.workload.guidance, recipe.objective),
        (device.get("kind"), device.get("name"), device.get("compute_capability")),
        recipe.fingerprint.protocol,
    )


def _worth(entry: Entry) -> tuple[bool, bool, float, int, str]:
    """Confirmed first, then measured under a real budget, then the fastest."""
    recipe = entry.recipe
    winner = recipe.evidence.winner
    return (
        recipe.status == "provisional",
        recipe.budget.emulated,
        winner.seconds(recipe.aim),
        winner.peak_bytes,
        entry.name,
    )


def _why(entry: Entry, other: Entry) -> str | None:
    """Why another recipe of the group, which is worth no less, is better; else ``None``."""
    ours, theirs = entry.recipe, other.recipe
    releases = _releases(ours.fingerprint, theirs.fingerprint)
    if releases is None or not _as_strict(
        theirs.evidence.quality.asked, ours.evidence.quality.asked
    ):
        return None
    provisional = ours.status == "provisional" and theirs.status == "confirmed"
    slack = 1 + _NOISE if provisional else 1.0
    mine, its = ours.evidence.winner, theirs.evidence.winner
    faster = its.seconds(theirs.aim) <= mine.seconds(ours.aim) * slack
    smaller = its.peak_bytes <= mine.peak_bytes * slack
    beside = (its.host_bytes or 0) <= (mine.host_bytes or 0) * (1 + _NOISE)
    if ours.choices == theirs.choices:  # peaks of two processes differ: what fits is as good
        most = min(mine.peak_bytes * (1 + _NOISE), ours.budget.bytes)
        smaller = its.peak_bytes <= most
    if not (beside and faster and smaller):
        return None
    if provisional:
        return "provisional, and another is confirmed, as fast and no larger"
    older = "measured with older releases: " if releases else ""
    if ours.choices == theirs.choices:
        return f"{older}the same choices, and another is no slower"
    return f"{older}slower than another, and no smaller"


def _releases(ours: Fingerprint, theirs: Fingerprint) -> tuple[str, ...] | None:
    """In which packages the other machine is ahead; ``None`` if it cannot stand for ours."""
    newer = []
    for one in compare(ours, theirs):
        if one.severity == "near":
            continue
        if one.field not in _RELEASED or _numbers(one.here) <= _numbers(one.recorded):
            return None
        newer.append(one.field)
    return tuple(newer)


def _numbers(version: object) -> list[int]:
    parts = str(version).partition("+")[0].split(".")
    return [int(part) for part in parts if part.isdigit()]


def _as_strict(theirs: Fidelity | None, ours: Fidelity | None) -> bool:
    """Whether their pictures are as near to the baseline's as ours have to be."""
    if theirs is None or ours is None:
        return theirs is ours
    return ours.allows(theirs)
