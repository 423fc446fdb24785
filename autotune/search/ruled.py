"""What the rules leave of a space: pins that may stand together, and a baseline that may run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace

from autotune.errors import BadInput
from autotune.levers.rules import RULES
from autotune.records import Candidate
from autotune.search.admission import Admission
from autotune.search.space import Space

#: The nearest candidates differ in one or two levers; further ones would be no baseline.
_MOST_LOOKED_AT = 20_000


def refuse_pins(pins: Mapping[str, str], admission: Admission) -> None:
    """Refuse settings that a rule excludes whatever the other levers are.

    Raises:
        BadInput: Naming the settings and the rule's reason.
    """
    rule = admission.broken(pins)
    if rule is not None:
        named = " with ".join(f"{lever}={pins[lever]}" for lever in pins if lever in rule.choices)
        raise BadInput(
            f"{named} cannot be set here: {rule.reason} ({rule.cite})",
            hint="leave one --set out" if len(rule.choices) > 1 else "leave this --set out",
        )


def ruled(space: Space, admission: Admission) -> Space:
    """The space with a baseline that no rule excludes: the one with the fewest changes.

    Pins and search-space files can take away the choice that the plain baseline needs.

    Raises:
        BadInput: If the rules exclude every candidate, naming the rules.
    """
    if admission.broken(space.baseline) is None:
        return space
    excluded: dict[str, str] = {}
    for candidate in itertools.islice(_nearest_first(space), _MOST_LOOKED_AT):
        rule = admission.broken(candidate)
        if rule is None:
            return replace(space, baseline=candidate)
        excluded[rule.id] = f"{rule.reason} ({rule.cite})"
    reasons = "; ".join(f"{id}: {reason}" for id, reason in excluded.items())
    raise BadInput(
        f"the rules exclude every candidate of the space: {reasons}",
        hint="leave a --set out, or allow more choices in the search space",
    )


def _nearest_first(space: Space) -> Iterator[Candidate]:
    """Every way to set the levers that rules name, the fewest changes first.

    No rule looks at the other levers, so they stay as they are.
    """
    named = {lever for rule in RULES for lever in rule.choices}
    levers = {lever: ids for lever, ids in space.open_levers.items() if lever in named}
    for number in range(len(levers) + 1):
        for chosen in itertools.combinations(levers, number):
            others = [
                [id for id in levers[lever] if id != space.baseline[lever]] for lever in chosen
            ]
            for ids in itertools.product(*others):
                yield {**space.baseline, **dict(zip(chosen, ids, strict=True))}
