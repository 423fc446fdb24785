"""Does a recipe fit this machine, and does this installation have what it chooses?"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from autotune.errors import BadRecipe, shorten
from autotune.recipe.schema import Recipe
from autotune.records import Candidate, Device, Fingerprint, Machine
from autotune.units import format_bytes

if TYPE_CHECKING:
    from autotune.probe.fingerprint import Difference


@dataclass(frozen=True, kw_only=True)
class Check:
    """How far a recipe's numbers reach here.

    Args:
        match: ``exact`` when the numbers hold as they stand, ``near`` when they are a fair
            guess, ``far`` when the recipe should not be used before it was verified.
        differences: What differs between the machine that measured and this one.
        problems: What stands against using it here, a sentence each.
        notes: What it does not promise anywhere, a sentence each.
    """

    match: Literal["exact", "near", "far"]
    differences: tuple[Difference, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def check_recipe(recipe: Recipe, machine: Machine, device: Device, here: Fingerprint) -> Check:
    """Compare a recipe with a device of this machine, whose fingerprint is ``here``."""
    from autotune.probe.fingerprint import compare

    differences = tuple(compare(recipe.fingerprint, here))
    host = machine.devices[-1]  # the CPU, whose memory is the host's
    too_large = (*_too_large(recipe, device), *_too_large_beside(recipe, host))
    too_full = (*_too_full(recipe, device), *_too_full_beside(recipe, host))
    lesser = (*too_full, *_missing(recipe, machine))
    match: Literal["exact", "near", "far"] = "near" if differences or lesser else "exact"
    if too_large or any(one.severity == "far" for one in differences):
        match = "far"
    return Check(
        match=match,
        differences=differences,
        problems=(*too_large, *lesser),
        notes=tuple(_notes(recipe)),
    )


def check_choices(choices: Candidate, known: Mapping[str, Collection[str]]) -> None:
    """Refuse choices that this installation does not have (promise R4).

    Args:
        choices: What a recipe chooses.
        known: The ids of the choices of each lever there is here.

    Raises:
        BadRecipe: With the name that is unknown, and a close one.
    """
    for lever, choice in sorted(choices.items()):
        if lever not in known:
            raise _unknown("lever", lever, known)
        if choice not in known[lever]:
            raise _unknown(f"choice of the lever {lever}", choice, known[lever])


def _unknown(kind: str, name: str, known: Collection[str]) -> BadRecipe:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(sorted(known))}"
    return BadRecipe(f"{shorten(name)} is not a {kind} that is installed here", hint=hint)


def _too_large(recipe: Recipe, device: Device) -> Iterator[str]:
    total = f"{device.name} has {format_bytes(device.total_bytes)}"
    peak = recipe.evidence.winner.peak_bytes
    if peak > device.total_bytes:
        yield f"the recipe needs {format_bytes(peak)}, and {total}"
    elif recipe.budget.bytes > device.total_bytes:
        yield f"the recipe was allowed {format_bytes(recipe.budget.bytes)}, and {total}"


def _too_full(recipe: Recipe, device: Device) -> Iterator[str]:
    peak = recipe.evidence.winner.peak_bytes
    if device.free_bytes < peak <= device.total_bytes:
        free = format_bytes(device.free_bytes)
        yield f"the recipe needs {format_bytes(peak)}, and only {free} are free now"


def _too_large_beside(recipe: Recipe, host: Device) -> Iterator[str]:
    peak = recipe.evidence.winner.host_bytes or 0
    if peak > host.total_bytes:
        yield (
            f"beside the device the recipe needs {format_bytes(peak)} of host memory, and there "
            f"are {format_bytes(host.total_bytes)}"
        )


def _too_full_beside(recipe: Recipe, host: Device) -> Iterator[str]:
    peak = recipe.evidence.winner.host_bytes or 0
    if host.free_bytes < peak <= host.total_bytes:
        yield (
            f"beside the device the recipe needs {format_bytes(peak)} of host memory, and only "
            f"{format_bytes(host.free_bytes)} are available now"
        )


def _missing(recipe: Recipe, machine: Machine) -> Iterator[str]:
    for package, version in sorted(recipe.fingerprint.software.items()):
        if package not in machine.software:
            yield f"{package} {version} was installed where it was measured, and is not here"


def _notes(recipe: Recipe) -> Iterator[str]:
    if recipe.model.weights == "random":
        yield "measured with random weights: speed and memory are true, quality is not assessed"
    if recipe.budget.emulated:
        yield "the budget was emulated on a larger device, until `autotune verify` ran on this one"
    if recipe.status == "provisional":
        yield "provisional: the study ended before its numbers were confirmed"
    if recipe.modified:
        yield "changed by hand: its numbers may belong to other choices"
