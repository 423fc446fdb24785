"""Make a candidate of what a recipe of another machine chose: the rest is the baseline's."""

from __future__ import annotations

from collections.abc import Iterable

from autotune.records import Candidate, candidate_key
from autotune.search.admission import Admission
from autotune.search.space import Space

_MOST, _OF_TRIALS = 3, 4


def fitted(choices: Candidate, space: Space, admission: Admission) -> Candidate:
    """The choices that can be had here and may stand together, with the baseline's for the others.

    What a rule excludes is put back one lever after the other, until none does.
    """
    candidate = dict(space.baseline)
    for lever, offered in space.levers.items():
        if choices.get(lever) in {choice.id for choice in offered}:
            candidate[lever] = choices[lever]
    while (rule := admission.broken(candidate)) is not None:
        changed = [lever for lever in rule.choices if lever in space.changes(candidate)]
        if not changed:  # the baseline itself is excluded, which is told elsewhere
            return space.baseline
        candidate[changed[-1]] = space.baseline[changed[-1]]
    return candidate


def starts_of(
    given: Iterable[Candidate], space: Space, admission: Admission, *, trials: int
) -> tuple[Candidate, ...]:
    """A candidate for each recipe, the baseline and what comes twice left out.

    They are a quarter of the trials at the most, and three: what was best elsewhere is a good
    guess, and what is foreseen for here is another.
    """
    found = {candidate_key(space.baseline): space.baseline}
    for choices in given:
        candidate = fitted(choices, space, admission)
        found.setdefault(candidate_key(candidate), candidate)
    most = max(1, min(_MOST, trials // _OF_TRIALS))
    return tuple(found.values())[1 : 1 + most]
