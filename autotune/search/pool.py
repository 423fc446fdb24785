"""The candidates a search may pick from, as numbers, with what is predicted of each.

A small space is listed whole. Of a large one only what was looked at is known: the baseline with
each lever changed, and from there whatever is next to the most promising.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

#: What a lever may be set to: what Optuna takes for a category.
Value = None | bool | int | float | str
Settings = Mapping[str, Value]
#: Numbers of the choices, in the order of the levers.
Code = tuple[int, ...]
Array = Any


class Expected(NamedTuple):
    """What is predicted of a candidate, as far as anything is.

    ``start_s`` is what its first call takes on top, where nothing is compiled yet.
    """

    latency_s: float | None = None
    peak_bytes: float | None = None
    start_s: float = 0.0


#: What to expect of a candidate; ``None`` if it may not stand: a rule, or far too large.
Foresee = Callable[[Settings], Expected | None]


def expect_nothing(_: Settings) -> Expected:
    """Without an estimator every candidate may stand and none is better than another."""
    return Expected()


class Pool:
    """Candidates that may stand, each with a number that it keeps.

    Args:
        levers: What can be chosen.
        base: The plain candidate.
        foresee: What is expected of a candidate, and whether it may stand; asked once of each.
        listed: Spaces up to this size are listed whole.
    """

    def __init__(
        self,
        levers: Mapping[str, Sequence[Value]],
        base: Settings,
        foresee: Foresee,
        *,
        listed: int,
    ) -> None:
        self.levers = {lever: tuple(values) for lever, values in levers.items()}
        self._foresee = foresee
        self._numbers = [
            {value: number for number, value in enumerate(values)}
            for values in self.levers.values()
        ]
        self._base = self._code(base)
        self._known: dict[Code, int | None] = {}
        self._codes: list[Code] = []
        self._expected: list[Expected] = []
        self._surrounded: set[int] = set()
        self._arrays: tuple[Array, Array, Array] | None = None
        self.whole = math.prod(map(len, self.levers.values())) <= listed
        if self.whole:
            for code in itertools.product(*(range(len(one)) for one in self.levers.values())):
                self._add(code)

    def __len__(self) -> int:
        return len(self._codes)

    def find(self, candidate: Settings) -> int | None:
        """The number of a candidate; ``None`` if it may not stand, or is not of this space."""
        try:
            code = self._code(candidate)
        except KeyError:
            return None
        return self._add(code)

    def candidate(self, number: int) -> dict[str, Value]:
        """The candidate with a number."""
        return self._named(self._codes[number])

    def differing(self, number: int, other: int) -> list[str]:
        """The levers that two candidates do not share."""
        ours, theirs = self._codes[number], self._codes[other]
        return [lever for lever, a, b in zip(self.levers, ours, theirs, strict=True) if a != b]

    def surround(self, number: int) -> bool:
        """Look at everything next to a candidate; whether anything new came of it."""
        if self.whole or number in self._surrounded:
            return False
        self._surrounded.add(number)
        before = len(self)
        for code in self._next_to(self._codes[number]):
            self._add(code)
        return len(self) > before

    def arrays(self) -> tuple[Array, Array, Array]:
        """Codes, and the logarithms of predicted seconds and bytes: 0 where nothing is said."""
        if self._arrays is None or len(self._arrays[0]) < len(self):
            seconds = [one.latency_s or 1.0 for one in self._expected]
            sizes = [one.peak_bytes or 1.0 for one in self._expected]
            codes = np.array(self._codes, dtype=np.int16).reshape(len(self), len(self.levers))
            self._arrays = (codes, np.log(np.array(seconds)), np.log(np.array(sizes)))
        return self._arrays

    def expected(self, number: int) -> Expected:
        """What was predicted of a candidate."""
        return self._expected[number]

    def _add(self, code: Code) -> int | None:
        if code in self._known:
            return self._known[code]
        expected = self._foresee(self._named(code))
        number = None if expected is None else len(self._codes)
        self._known[code] = number
        if expected is not None:
            self._codes.append(code)
            self._expected.append(expected)
        return number

    def _code(self, candidate: Settings) -> Code:
        pairs = zip(self.levers, self._numbers, strict=True)
        return tuple(numbers[candidate[lever]] for lever, numbers in pairs)

    def _named(self, code: Code) -> dict[str, Value]:
        pairs = zip(self.levers.items(), code, strict=True)
        return {lever: values[at] for (lever, values), at in pairs}

    def _next_to(self, code: Code) -> Iterator[Code]:
        """One lever changed; and where that may not stand, another one given up for it."""
        for lever, values in enumerate(self.levers.values()):
            for value in range(len(values)):
                if value == code[lever]:
                    continue
                changed = _with(code, {lever: value})
                yield changed
                if self._add(changed) is None:
                    yield from self._mended(changed, lever)

    def _mended(self, code: Code, kept: int) -> Iterable[Code]:
        """Each other lever put back to its plain choice."""
        return (
            _with(code, {lever: plain})
            for lever, plain in enumerate(self._base)
            if lever != kept and code[lever] != plain
        )


def _with(code: Code, changes: Mapping[int, int]) -> Code:
    return tuple(changes.get(lever, at) for lever, at in enumerate(code))
