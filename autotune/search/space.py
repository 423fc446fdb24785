"""The space of a study: the choices that can exist here, and a reason for each that cannot."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from autotune.errors import BadInput, shorten
from autotune.records import Candidate, Choice, Fidelity
from autotune.search.definition import Definition


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A choice that is not in the space."""

    lever: str
    choice: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Space:
    """For each lever the choices to search; a lever with one choice is fixed."""

    levers: Mapping[str, tuple[Choice, ...]]
    baseline: Candidate
    left_out: tuple[LeftOut, ...]

    @property
    def size(self) -> int:
        """How many candidates there are, rules not counted."""
        return math.prod(len(choices) for choices in self.levers.values())

    @property
    def open_levers(self) -> Mapping[str, tuple[str, ...]]:
        """The ids of every lever that has a choice to make."""
        return {
            lever: tuple(choice.id for choice in choices)
            for lever, choices in self.levers.items()
            if len(choices) > 1
        }

    def changes(self, candidate: Candidate) -> Mapping[str, str]:
        """Where the candidate differs from the baseline."""
        return {lever: id for lever, id in candidate.items() if self.baseline.get(lever) != id}


def build_space(
    choices: Sequence[Choice],
    definition: Definition,
    pins: Mapping[str, str],
    quality: Fidelity = Fidelity.ANY,
) -> Space:
    """Build the space from what the levers offer, what the files ask for, and what is pinned.

    Levers and choices come in the order of the files, which is the order they are tried in. A
    pinned lever has one choice, in the baseline too: an explicit setting wins (D12), also over
    the quality that is asked for.

    Raises:
        BadInput: If a file or a pin names what does not exist, or pins what cannot be had here.
    """
    quality = min(quality, definition.quality, key=list(Fidelity).index)
    offered: dict[str, list[Choice]] = {}
    for choice in choices:
        offered.setdefault(choice.lever, []).append(choice)
    for lever in definition.levers:
        _known(lever, offered, "lever")
    levers: dict[str, tuple[Choice, ...]] = {}
    left_out: list[LeftOut] = []
    for lever in [
        *definition.levers,
        *(name for name in offered if name not in definition.levers),
    ]:
        found = offered[lever]
        wanted = (pins[lever],) if lever in pins else definition.levers.get(lever, "baseline")
        levers[lever], missing = _select(lever, found, wanted, quality, pinned=lever in pins)
        left_out.extend(missing)
    for lever in pins:
        _known(lever, offered, "lever")
    baseline = {
        lever: next((choice.id for choice in found if choice.baseline), found[0].id)
        for lever, found in levers.items()
    }
    return Space(levers=levers, baseline=baseline, left_out=tuple(left_out))


def every(space: Space) -> Iterator[Candidate]:
    """Every candidate of the space."""
    levers: Mapping[str, tuple[str, ...]] = space.open_levers
    for ids in itertools.product(*levers.values()):
        yield {**space.baseline, **dict(zip(levers, ids, strict=True))}


def one_change_each(space: Space) -> Iterator[Candidate]:
    """The baseline with one lever changed; each lever has its first turn before any a second."""
    turns = [
        [{**space.baseline, lever: id} for id in ids if id != space.baseline[lever]]
        for lever, ids in space.open_levers.items()
    ]
    for round_ in itertools.zip_longest(*turns):
        yield from (candidate for candidate in round_ if candidate is not None)


def parse_pins(texts: Sequence[str]) -> dict[str, str]:
    """Read ``lever=choice`` settings.

    Raises:
        BadInput: If one is not of that form, or a lever is set twice.
    """
    pins: dict[str, str] = {}
    for text in texts:
        lever, sign, choice = text.partition("=")
        if not (sign and lever and choice):
            raise BadInput(f"{shorten(text)} is not a setting", hint="--set attention=native")
        if pins.get(lever, choice) != choice:
            raise BadInput(
                f"{shorten(lever)} is set twice, to {shorten(pins[lever])} and to "
                f"{shorten(choice)}",
                hint="leave one of them out",
            )
        pins[lever] = choice
    return pins


def _select(
    lever: str,
    found: Sequence[Choice],
    wanted: str | tuple[str, ...],
    quality: Fidelity,
    *,
    pinned: bool,
) -> tuple[tuple[Choice, ...], list[LeftOut]]:
    asked = () if isinstance(wanted, str) else wanted
    for id in asked:
        _known(id, [choice.id for choice in found], f"choice of {lever}")
    kept, left_out = [], []
    for choice in sorted(found, key=lambda one: asked.index(one.id) if one.id in asked else -1):
        named = wanted == "all" or choice.id in asked or (choice.baseline and not pinned)
        if choice.unavailable is not None:
            if pinned and choice.id in asked:
                raise BadInput(
                    f"{lever}={choice.id} cannot be set here: {choice.unavailable}",
                    hint="autotune levers --model MODEL lists what can",
                )
            left_out.append(LeftOut(lever=lever, choice=choice.id, reason=choice.unavailable))
        elif named and not (pinned or choice.baseline or quality.allows(choice.fidelity)):
            reason = f"changes pictures more than --quality {quality} allows"
            left_out.append(LeftOut(lever=lever, choice=choice.id, reason=reason))
        elif named:
            kept.append(choice)
        else:
            reason = "pinned" if pinned else "not in the search space"
            left_out.append(LeftOut(lever=lever, choice=choice.id, reason=reason))
    return tuple(kept), left_out


def _known(name: str, known: Mapping[str, object] | Sequence[str], kind: str) -> None:
    if name in known:
        return
    plain = name.lower().replace("_", "-")
    close = difflib.get_close_matches(plain, list(known), n=1, cutoff=0.65)
    listed = ", ".join(known)
    hint = f"did you mean {close[0]}?" if close else f"there is {listed}"
    raise BadInput(f"there is no {kind} {shorten(name)}", hint=hint)
