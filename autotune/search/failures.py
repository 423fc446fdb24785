"""Which choices do not get on: what failed trials have in common and successful ones have not."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from autotune.records import Candidate

Array = Any
#: Two settings of different levers: (lever, choice, lever, choice), as numbers.
Pair = tuple[int, int, int, int]
#: After so many failures a pair that never worked is left alone (design §7): only where nothing
#: else is left it is tried again.
_ENOUGH, _HARDLY = 2, 1e-12


class Failures:
    """Suspects pairs of choices.

    A pair that was part of a success is cleared. Of each failure one of the other pairs is the
    cause, each as likely as the next.
    """

    def __init__(self, failed: Sequence[Array], sound: Array) -> None:
        self._chances: dict[Pair, float] = {}
        counts: Counter[Pair] = Counter()
        for code in failed:
            suspects = [pair for pair in _pairs(code) if not _has(sound, pair).any()]
            counts.update(suspects)
            for pair in suspects:
                before = self._chances.get(pair, 1.0)
                self._chances[pair] = before * (1 - 1 / len(suspects))
        self.excluded = tuple(
            pair for pair, count in counts.items() if count >= _ENOUGH and len(sound)
        )

    def sound(self, codes: Array) -> Array:
        """How likely each of some candidates is to run."""
        chance = np.ones(len(codes))
        for pair, innocent in self._chances.items():
            chance[_has(codes, pair)] *= innocent
        for pair in self.excluded:
            chance[_has(codes, pair)] *= _HARDLY
        return chance


def failing_pairs(
    failed: Sequence[Candidate], sound: Sequence[Candidate], baseline: Candidate
) -> list[Candidate]:
    """Pairs of choices, none of them the baseline's, that failed twice and never worked.

    What a pair has in common with every failure only because another pair has is left out: of
    several, those that most failures share.
    """
    levers = list(baseline)
    ids = {lever: sorted({one[lever] for one in (*failed, *sound)}) for lever in levers}

    def codes(candidates: Sequence[Candidate]) -> Array:
        rows = [[ids[lever].index(one[lever]) for lever in levers] for one in candidates]
        return np.array(rows, dtype=int).reshape(len(candidates), len(levers))

    found = []
    for a, first, b, second in Failures(list(codes(failed)), codes(sound)).excluded:
        pair = {levers[a]: ids[levers[a]][first], levers[b]: ids[levers[b]][second]}
        if all(baseline[lever] != id for lever, id in pair.items()):
            found.append(pair)
    shares = [sum(pair.items() <= one.items() for one in failed) for pair in found]
    return [pair for pair, share in zip(found, shares, strict=True) if share == max(shares)]


def _pairs(code: Array) -> Iterable[Pair]:
    levers = range(len(code))
    return ((a, int(code[a]), b, int(code[b])) for a, b in itertools.combinations(levers, 2))


def _has(codes: Array, pair: Pair) -> Array:
    a, first, b, second = pair
    return (codes[:, a] == first) & (codes[:, b] == second)
