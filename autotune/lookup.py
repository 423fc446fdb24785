"""Look a recipe up in a book, for a device of this machine: ``autotune.find_recipe``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from autotune.errors import BadInput, NoResult, shorten
from autotune.units import format_both, format_bytes, parse_budget

if TYPE_CHECKING:
    from autotune.fleet.book import Book
    from autotune.fleet.find import Answer, Wanted
    from autotune.recipe.schema import Recipe

#: The beginning of a commit, or of the digest that pins a folder.
_PINNED = re.compile(r"(sha256:)?[0-9a-f]{7,64}")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def find_recipe(
    model: str,
    *,
    vram: str | None = None,
    device: str | None = None,
    workload: Mapping[str, int | None] | None = None,
    quality: str = "balanced",
    objective: str = "steady",
    book: str | Path | None = None,
    match: Literal["exact", "near", "neighbour"] = "near",
) -> Recipe:
    """Look up the fastest recipe that fits here; nothing is measured.

    Args:
        model: As for ``suggest``, or the name that recipes give it.
        vram: As for ``suggest``, and so is the device.
        device: Where the recipe is to be used.
        workload: What differs from the model's default workload: ``{"steps": 8}``. A recipe for
            another one is only answered with where there is none for this.
        quality: How much the recipe may change the picture.
        objective: Which time counts.
        book: A folder or URL; ``$AUTOTUNE_BOOK``, or the user's own book, if left out.
        match: How far a recipe may be from this machine: ``exact``, ``near`` (the same card with
            another driver, say), or ``neighbour``: the same architecture, so that its choices
            probably work and its numbers do not hold. ``build`` refuses that without
            ``allow_mismatch``.

    Raises:
        NoResult: If there is none.
        AutotuneError: With a sentence and a hint; see ``autotune.errors``.
    """
    from autotune.fleet.book import open_book
    from autotune.fleet.find import MATCHES, find

    if match not in MATCHES:
        raise BadInput(f"there is no match {shorten(match)}", hint=", ".join(MATCHES))
    opened = open_book(book)
    wanted = make_wanted(
        model,
        vram=vram,
        device=device,
        workload=workload or {},
        quality=quality,
        objective=objective,
    )
    answer = find(opened, wanted, most=1)
    best = answer.found[0] if answer.found else None
    if best is None or MATCHES.index(best.match) > MATCHES.index(match):
        raise nothing(model, vram, opened, wanted, answer)
    return best.recipe


def make_wanted(
    model: str,
    *,
    vram: str | None,
    device: str | None,
    workload: Mapping[str, int | None],
    quality: str = "balanced",
    objective: str = "steady",
) -> Wanted:
    """Check what is looked for, and look at the device it is for.

    Raises:
        BadInput: Naming the value that cannot be used.
    """
    from autotune.asked import fidelity_of, wanted_bytes
    from autotune.fleet.find import Wanted
    from autotune.fleet.row import SIZES
    from autotune.objective import parse_objective
    from autotune.probe import probe_machine
    from autotune.probe.device import select_device
    from autotune.probe.fingerprint import fingerprint

    budget = None if vram is None else parse_budget(vram)
    fidelity, aim = fidelity_of(quality), str(parse_objective(objective))
    if unknown := workload.keys() - set(SIZES):
        raise BadInput(
            f"a workload has no {shorten(min(unknown))} to be looked up by",
            hint=f"one of {', '.join(SIZES)}",
        )
    named = names_of(model)
    machine = probe_machine()
    chosen = select_device(machine, device)
    sizes = {**named.sizes, **{name: size for name, size in workload.items() if size is not None}}
    return Wanted(
        device=chosen,
        here=fingerprint(machine, chosen),
        models=named.models,
        skeletons=named.skeletons,
        revision=_commit(named.revision),
        budget_bytes=wanted_bytes(budget, chosen),
        host_bytes=None if chosen.kind in ("cpu", "mps") else machine.host.most_bytes,
        sizes=tuple(sizes.get(name) for name in SIZES),
        quality=fidelity,
        objective=aim,
    )


@dataclass(frozen=True, kw_only=True)
class Named:
    """What recipes call a model that a user named, and what it generates by default.

    Of ``skeletons``, folders of such names, only random weights are meant.
    """

    models: frozenset[str]
    skeletons: frozenset[str] = frozenset()
    revision: str | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)


def names_of(model: str) -> Named:
    """Tell what recipes call a model, without the model itself: it may be on another machine.

    Raises:
        BadInput: If it is none of the catalogue, no hub id, no folder, and no plain name.
    """
    from autotune.fleet.row import SIZES, sizes_of
    from autotune.models.naming import FolderName, HubName, parse_name
    from autotune.models.resolve import folder_id

    try:
        name = parse_name(model)
    except BadInput:
        # What a recipe calls a folder of another machine.
        if not _PLAIN.fullmatch(model):
            raise
        return Named(models=frozenset({model.casefold()}))
    if isinstance(name, FolderName):
        return Named(models=frozenset({folder_id(name.folder).casefold()}))
    entry, hub = name.entry, name if isinstance(name, HubName) else None
    sizes = () if entry is None else zip(SIZES, sizes_of(entry.workload), strict=True)
    return Named(
        models=frozenset({hub.repository.casefold() if hub else "demo"}),
        skeletons=frozenset({entry.name.casefold()}) if entry and hub else frozenset(),
        revision=hub.revision if hub else None,
        sizes=dict(sizes),
    )


def _commit(revision: str | None) -> str | None:
    if revision is not None and not _PINNED.fullmatch(revision):
        raise BadInput(
            f"recipes know commits, not {shorten(revision)}",
            hint="write seven digits of the commit or more after @, or no revision",
        )
    return revision


def nothing(model: str, vram: str | None, book: Book, wanted: Wanted, answer: Answer) -> NoResult:
    """The error for a lookup that found nothing, with what came near.

    Raises:
        BadInput: If there can be no such model.
    """
    from autotune.models.naming import parse_name

    budget = f" --vram {vram}" if vram else ""
    hint = f"autotune suggest --model {model}{budget} --add-to-book measures one"
    place = shorten(book.store.place, 200)
    total = sum(answer.left_out.values())
    if answer.found:
        why = f"the nearest of {answer.matching} is only a {answer.found[0].match}"
    elif total:
        reasons = ", ".join(f"{count} {reason}" for reason, count in answer.left_out.items())
        why = f"of {total} of this model {reasons}"
        if answer.leanest_bytes is not None:
            why += f" (the leanest takes {format_bytes(answer.leanest_bytes)})"
    else:
        parse_name(model)  # where it is no name at all, that is what is wrong
        why = "it has none of this model"
    asked = f"{shorten(model)} within {format_both(wanted.budget_bytes)}"
    return NoResult(f"no recipe in {place} for {asked} on {wanted.device.name}: {why}", hint=hint)
