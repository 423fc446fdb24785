"""Which choices do not get on: what failed trials have in common and successful ones have not."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
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


def failing_choices(
    failed: Sequence[Candidate], sound: Sequence[Candidate], baseline: Candidate
) -> list[Candidate]:
    """Choices and pairs of them, none the baseline's, that failed twice and never worked.

    A choice whose failures have no other in common stands alone. What a pair has in common with
    every failure only because another pair has is left out: of several, those that most failures
    share.
    """
    levers = list(baseline)
    ids = {lever: sorted({one[lever] for one in (*failed, *sound)}) for lever in levers}

    def codes(candidates: Sequence[Candidate]) -> Array:
        rows = [[ids[lever].index(one[lever]) for lever in levers] for one in candidates]
        return np.array(rows, dtype=int).reshape(len(candidates), len(levers))

    pairs = []
    for a, first, b, second in Failures(list(codes(failed)), codes(sound)).excluded:
        pair = {levers[a]: ids[levers[a]][first], levers[b]: ids[levers[b]][second]}
        if all(baseline[lever] != id for lever, id in pair.items()):
            pairs.append(pair)
    alone = list(_failing_alone(failed, sound, baseline, pairs))
    left = [pair for pair in pairs if not any(one.items() <= pair.items() for one in alone)]
    shares = [_count(pair, failed) for pair in left]
    return [
        *alone,
        *(one for one, share in zip(left, shares, strict=True) if share == max(shares)),
    ]


def _failing_alone(
    failed: Sequence[Candidate],
    sound: Sequence[Candidate],
    baseline: Candidate,
    pairs: Sequence[Candidate],
) -> Iterator[Candidate]:
    """Choices that failed twice, never worked, and share their failures with no other choice."""
    for lever, plain in baseline.items():
        for id in dict.fromkeys(one[lever] for one in failed):
            choice = {lever: id}
            times = _count(choice, failed)
            shared = (_count(pair, failed) for pair in pairs if choice.items() <= pair.items())
            if (
                id != plain
                and times >= _ENOUGH
                and not _count(choice, sound)
                and times not in shared
            ):
                yield choice


def _count(choices: Candidate, candidates: Sequence[Candidate]) -> int:
    return sum(choices.items() <= one.items() for one in candidates)


def _pairs(code: Array) -> Iterable[Pair]:
    levers = range(len(code))
    return ((a, int(code[a]), b, int(code[b])) for a, b in itertools.combinations(levers, 2))


def _has(codes: Array, pair: Pair) -> Array:
    a, first, b, second = pair
    return (codes[:, a] == first) & (codes[:, b] == second)
