"""How many candidates a space has, how many the rules leave, and how many of those may fit."""

from __future__ import annotations

import random

from autotune.records import Candidate, Record
from autotune.search.admission import Admission
from autotune.search.space import Space, every

#: Spaces up to this size are counted, larger ones sampled with as many: a quarter of a second.
_COUNTED = 1_000


class Funnel(Record):
    """Candidates in all, legal ones, those that may fit; ``exact`` unless they were sampled."""

    all: int
    legal: int
    may_fit: int
    exact: bool


def count_funnel(space: Space, admission: Admission) -> Funnel:
    """Count a space, or judge it by a sample of its candidates."""
    exact = space.size <= _COUNTED
    looked_at = list(every(space)) if exact else _sample(space)
    legal = [one for one in looked_at if admission.broken(one) is None]
    fits = sum(admission.too_large(one) is None for one in legal)
    share = space.size / len(looked_at)
    return Funnel(
        all=space.size, legal=round(len(legal) * share), may_fit=round(fits * share), exact=exact
    )


def _sample(space: Space) -> list[Candidate]:
    lot = random.Random(0)
    levers = space.open_levers.items()
    return [
        {**space.baseline, **{lever: lot.choice(ids) for lever, ids in levers}}
        for _ in range(_COUNTED)
    ]
