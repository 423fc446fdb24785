"""Which candidate next, from what is predicted and what was seen. No Optuna in here.

The baseline; some starts that differ from each other; then one lever changed at a time around the
best, most promising first; and where that promises little, the most promising of all. What a
candidate promises is an expectation: by how much it beats the best, by what the trials so far
taught about predictions of time and memory, times how likely it fits and runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from autotune.search.belief import Belief, learn
from autotune.search.failures import Failures
from autotune.search.pool import Array, Pool, Settings, Value
from autotune.search.verdict import GIVE_UP_SHARE, TIE_SHARE

#: Levers by which two starts differ at least.
_APART = 2
#: The best neighbour must promise this share of what the best of all candidates does.
_NEAR_ENOUGH = 0.5
#: Candidates that promise so much of the best are alike: the one with less to prepare is taken.
_ALIKE = 0.9
#: What is known of a peak only by its having been too large: at least so much larger than allowed.
_OVER = math.log(1.03)
#: How far off predictions usually are, in scales of a belief: 15 % a choice for times, which the
#: estimator has right to a quarter in all, and 5 % for peaks, of which it promises a tenth.
_TIMES_ARE_OFF, _PEAKS_ARE_OFF = 1.5, 0.5
#: Peaks of two processes differ by a few per cent.
_PEAK_NOISE = 0.02
#: What it is worth to the search that a candidate has fewer changes than the best. A whole tie
#: would cost trials that find more (20 synthetic spaces: near after 20 in 80 and not 95 %).
_SIMPLER = 0.01
#: The share of the trials that try, at the end, whether the best can be simpler, and how likely
#: that has to be.
LAST, _MAY_BE = 0.2, 0.1
#: How often the neighbourhood of the most promising is looked at before it is tried.
_STEPS = 8


class Ended(Enum):
    """How a trial ended, as far as a search is concerned."""

    FITS = "fits"
    TOO_LARGE = "too large"
    TOO_SLOW = "too slow"
    FAILED = "failed"
    RUNNING = "running"


@dataclass(frozen=True, kw_only=True)
class Told:
    """One trial: its number for people, seconds if measured, bytes if known."""

    number: int
    candidate: Settings
    ended: Ended
    value: float | None = None
    peak_bytes: float | None = None


@dataclass(frozen=True, kw_only=True)
class Pick:
    """A candidate to try, and why."""

    candidate: dict[str, Value]
    why: str


#: What a candidate needs made before it can run, by names: compiled graphs, quantized weights.
Prepares = Callable[[Settings], Collection[str]]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Picks from a pool.

    Args:
        pool: What may stand.
        base: Where the search begins, and what starts are changes of.
        budget_bytes: What a peak has to stay within, if that is known.
        given: Candidates to start from, such as recipes of near devices.
        starts: How many starts there are, given ones included.
        trials: How many trials there will be, if that is known: the last of them try whether the
            best can do without one of its changes.
        prepares: What a candidate needs prepared.
    """

    pool: Pool
    base: Settings
    budget_bytes: float | None = None
    given: Sequence[Settings] = ()
    starts: int = 10
    trials: int | None = None
    prepares: Prepares = lambda _: ()

    def pick(self, told: Sequence[Told]) -> Pick | None:
        """The next candidate, or ``None`` if every one of the pool was tried."""
        taken = {self.pool.find(one.candidate) for one in told}
        base = self.pool.find(self.base)
        if base is not None and base not in taken:
            return Pick(candidate=self.pool.candidate(base), why="baseline")
        for candidate in self.given:
            number = self.pool.find(candidate)
            if number is not None and number not in taken:
                return Pick(candidate=self.pool.candidate(number), why="start, given")
        view = _View(self, told, taken)
        view.look_around()
        if not view.free.any():
            return None
        last = self.trials is not None and len(taken) >= self.trials * (1 - LAST)
        if last and (simpler := view.simpler()) is not None:
            number = view.choose(simpler)
            why = f"#{view.best.number} without {view.differs_by(number)}" if view.best else ""
        elif len(taken) <= self.starts:
            number, why = view.choose(view.apart()), "start"
        elif view.best is not None and (near := view.near()) is not None:
            number = view.choose(near)
            why = f"neighbour of #{view.best.number} by {view.differs_by(number)}"
        else:
            number, why = view.choose(view.free), "most promising"
        return Pick(candidate=self.pool.candidate(number), why=why)


class _View:
    """What the trials so far make of the pool."""

    def __init__(self, policy: Policy, told: Sequence[Told], taken: set[int | None]) -> None:
        self._policy, self._pool, self._told = policy, policy.pool, told
        self._taken = [number for number in taken if number is not None]
        self.best = self._best_of(told)
        self._as_good: Array = None
        self._learn()
        self._judge()

    def _best_of(self, told: Sequence[Told]) -> Told | None:
        """The fastest that fits; of those that are as good as that, the simplest."""
        fits = [
            one
            for one in told
            if one.ended is Ended.FITS
            and one.value is not None
            and self._pool.find(one.candidate) is not None
        ]
        mark = min((one.value or 0.0 for one in fits), default=0.0) * (1 + TIE_SHARE)
        tied = [one for one in fits if (one.value or 0.0) <= mark]
        return min(tied, key=lambda one: (self._changes(one.candidate), one.value), default=None)

    def _changes(self, candidate: Settings) -> int:
        base = self._policy.base
        return sum(base.get(lever) != id for lever, id in candidate.items())

    def look_around(self) -> None:
        """Grow the pool around the best and around what promises most, as long as that helps."""
        if self._pool.whole:
            return
        for step in range(_STEPS):
            grew = False
            if step == 0:
                for one in self._taken:
                    grew = self._pool.surround(one) or grew
            if self.free.any():
                grew = self._pool.surround(int(np.argmax(self._masked(self.free)))) or grew
            if not grew:
                return
            self._judge()

    def apart(self) -> Array:
        """Candidates that differ from every one before; all, if there is none."""
        codes, _, _ = self._pool.arrays()
        apart = self.free.copy()
        for number in self._taken:
            apart &= (codes != codes[number]).sum(axis=1) >= _APART
        return apart if apart.any() else self.free

    def near(self) -> Array | None:
        """Candidates one lever away from the best, if one of them promises enough."""
        if self.best is None:
            return None
        codes, _, _ = self._pool.arrays()
        best = self._pool.find(self.best.candidate)
        near = self.free & ((codes != codes[best]).sum(axis=1) == 1)
        if not near.any():
            return None
        enough = self._promise[near].max() >= _NEAR_ENOUGH * self._promise[self.free].max()
        return near if enough else None

    def choose(self, among: Array) -> int:
        """The most promising; of those that are alike, the one with least to prepare, or set."""
        promise = self._masked(among)
        top = promise.max()
        alike = [int(promise.argmax())]
        if top > 0:
            alike = [int(one) for one in np.flatnonzero(promise >= top * _ALIKE)]
        ready = {name for one in self._told for name in self._policy.prepares(one.candidate)}

        def order(number: int) -> tuple[float, int, int, float]:
            candidate = self._pool.candidate(number)
            needs = set(self._policy.prepares(candidate)) - ready
            start_s = self._pool.expected(number).start_s if needs else 0.0
            return start_s, len(needs), self._changes(candidate), -float(promise[number])

        return min(alike, key=order)

    def simpler(self) -> Array | None:
        """The best without one of its changes, where that may be as good and was not tried."""
        if self.best is None:
            return None
        codes, _, _ = self._pool.arrays()
        best = self._pool.find(self.best.candidate)
        simpler = self._changed(codes) < self._changes(self.best.candidate)
        near = self.free & simpler & ((codes != codes[best]).sum(axis=1) == 1)
        near &= self._as_good * self._fits() * self._failures.sound(codes) > _MAY_BE
        return near if near.any() else None

    def differs_by(self, number: int) -> str:
        """The lever by which a neighbour of the best differs from it."""
        best = self._pool.find(self.best.candidate) if self.best else None
        assert best is not None
        (lever,) = self._pool.differing(number, best)
        return lever

    def _masked(self, among: Array) -> Array:
        return np.where(among, self._promise, -1.0)

    def _learn(self) -> None:
        """Compare what was seen with what was predicted."""
        times: dict[int, float] = {}
        peaks: dict[int, float] = {}
        failed: list[int] = []
        budget = self._policy.budget_bytes
        for one in self._told:
            number = self._pool.find(one.candidate)
            if number is None or one.ended is Ended.RUNNING:
                continue
            if one.ended is Ended.FAILED:
                failed.append(number)
            if one.value is not None and one.value > 0:
                times[number] = math.log(one.value)
            elif one.ended is Ended.TOO_SLOW and self.best is not None:
                foreseen = self._pool.expected(number).latency_s or 0.0
                times[number] = math.log(max((self.best.value or 0.0) * GIVE_UP_SHARE, foreseen))
            if one.peak_bytes:
                peaks[number] = math.log(one.peak_bytes)
            elif one.ended is Ended.TOO_LARGE and budget:
                foreseen = self._pool.expected(number).peak_bytes or 0.0
                peaks[number] = math.log(max(budget, foreseen)) + _OVER
        codes, seconds, sizes = self._pool.arrays()
        self._time = _Compared.of(codes, seconds, times, _TIMES_ARE_OFF)
        self._peak = _Compared.of(codes, sizes, peaks, _PEAKS_ARE_OFF)
        self._failures = Failures(codes[failed], codes[list(times)])

    def _judge(self) -> None:
        """How much each candidate promises."""
        codes, seconds, _ = self._pool.arrays()
        self.free = np.ones(len(codes), dtype=bool)
        self.free[self._taken] = False
        expected, spread = self._time.predict(codes, seconds)
        if self.best is not None and self.best.value:
            simpler = self._changed(codes) < self._changes(self.best.candidate)
            mark = math.log(self.best.value) + np.where(simpler, _SIMPLER, 0.0)
            gain = _improvement(mark - expected, spread)
            self._as_good = _below((math.log(self.best.value) + TIE_SHARE - expected) / spread)
        else:
            # Nothing fits yet: the fastest that probably will.
            fastest = expected[self.free].min() if self.free.any() else 0.0
            gain = np.exp(np.clip(fastest - expected, -50.0, 0.0))
        self._promise = gain * self._fits() * self._failures.sound(codes)

    def _changed(self, codes: Array) -> Array:
        """How many levers of each candidate are set to something else."""
        base = self._pool.find(self._policy.base)
        return (codes != codes[base]).sum(axis=1) if base is not None else np.zeros(len(codes))

    def _fits(self) -> Array:
        """How likely each candidate fits the budget."""
        codes, _, sizes = self._pool.arrays()
        budget = self._policy.budget_bytes
        if budget is None or not self._peak.knows:
            return np.ones(len(codes))
        expected, spread = self._peak.predict(codes, sizes)
        return _below((math.log(budget) - expected) / np.sqrt(spread**2 + _PEAK_NOISE**2))


@dataclass(frozen=True, kw_only=True)
class _Compared:
    """Logarithms of what is measured, from those predicted, or from their mean without any."""

    belief: Belief
    middle: float
    knows: bool

    @classmethod
    def of(
        cls, codes: Array, predicted: Array, measured: Mapping[int, float], off: float
    ) -> _Compared:
        """Learn from candidates by number, whose predictions are usually off by such a scale."""
        numbers = list(measured)
        surprises = np.array([measured[number] - predicted[number] for number in numbers])
        knows = bool(predicted.any())
        middle = float(surprises.mean()) if numbers and not knows else 0.0
        belief = learn(codes[numbers], surprises - middle, usual=off)
        return cls(belief=belief, middle=middle, knows=knows or bool(numbers))

    def predict(self, codes: Array, predicted: Array) -> tuple[Array, Array]:
        """What is expected now, and how surely."""
        surprise, spread = self.belief.predict(codes)
        return predicted + self.middle + surprise, spread


def _improvement(ahead: Array, spread: Array) -> Array:
    """By how much a normal variable should lie below a mark that is so far ahead of its mean."""
    deviations = ahead / spread
    density = np.exp(-(deviations**2) / 2) / math.sqrt(2 * math.pi)
    return spread * (deviations * _below(deviations) + density)


def _below(deviations: Array) -> Array:
    """The normal distribution (Abramowitz and Stegun 26.2.17, error below 1e-7)."""
    size = np.abs(deviations)
    t = 1 / (1 + 0.2316419 * size)
    tail = np.exp(-(size**2) / 2) / math.sqrt(2 * math.pi)
    tail *= t * (
        0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429)))
    )
    return np.where(deviations > 0, 1 - tail, tail)
