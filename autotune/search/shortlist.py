"""The best candidates that are foreseen to fit a budget, of spaces too large to list.

Every evaluation is arithmetic. From the baseline, and from the best of placement, number format
and compilation together, levers are set to what is best for them, one after the other, until none
gains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product

from autotune.estimate.ceilings import Ceilings
from autotune.estimate.latency import Latency, predict
from autotune.estimate.memory import MemoryEstimate
from autotune.records import Candidate
from autotune.search.admission import Admission
from autotune.search.space import Space

#: What decides most about time and memory, of which climbs start from the best together.
_DECISIVE = ("offload", "quantize-denoiser", "compile")
#: Levers that are tried in pairs: neither may be enough alone, or one's best forbids the other's.
_PAIRS = (
    ("offload", "quantize-denoiser"),
    ("cache", "compile"),
    ("quantize-denoiser", "compile"),
)
#: How many climbs start from those, of each kind.
_STARTS = 3
#: A change that gains less than this is left out, and one of two that are this near to each other.
_ALIKE = 0.01
#: The next line of a list takes no more than this share of the memory of those before: of the
#: device's, or of the host's.
_LEANER, _LEANER_BESIDE = 0.9, 0.7
#: Rounds over all levers; three were enough for every model and budget of the catalogue.
_ROUNDS = 4


@dataclass(frozen=True, kw_only=True)
class Foreseen:
    """A candidate with what it is foreseen to take."""

    candidate: Candidate
    memory: MemoryEstimate
    latency: Latency


#: Less is better.
Score = tuple[float, ...]


class Shortlist:
    """Evaluates candidates of a space, each once.

    ``answers`` is shared by spaces of the same levers, whose choices are more or fewer.
    """

    def __init__(
        self,
        space: Space,
        admission: Admission,
        ceilings: Ceilings,
        *,
        answers: dict[tuple[str, ...], Foreseen | None] | None = None,
    ) -> None:
        self.space = space
        self._admission = admission
        self._ceilings = ceilings
        #: What was evaluated, by whoever shares it, and what of it was asked for here.
        self._answers = {} if answers is None else answers
        self._known: dict[tuple[str, ...], Foreseen | None] = {}
        self._started: list[Foreseen] | None = None

    @property
    def evaluated(self) -> int:
        """How many candidates were looked at."""
        return len(self._known)

    @property
    def looked_at(self) -> list[Foreseen]:
        """All of them that may stand."""
        return [one for one in self._known.values() if one is not None]

    def foresee(self, candidate: Candidate) -> Foreseen | None:
        """What a candidate is foreseen to take; ``None`` where a rule or the host forbids it."""
        # All candidates are made from the baseline, so their levers come in one order.
        key = tuple(candidate.values())
        if key not in self._known:
            if key not in self._answers:
                self._answers[key] = self._evaluate(candidate)
            self._known[key] = self._answers[key]
        return self._known[key]

    def best(self, budget_bytes: int) -> Foreseen | None:
        """The fastest candidate that is foreseen to fit, or ``None`` if none is."""

        def score(one: Foreseen) -> Score:
            return (max(0, one.memory.peak_bytes - budget_bytes), one.latency.image_s)

        found = self._search(score)
        if found is None or found.memory.peak_bytes > budget_bytes:
            return None
        return self._simplified(found, budget_bytes)

    def leanest(self) -> Foreseen | None:
        """The candidate that is foreseen to take least, and of several the fastest."""
        found = self._search(lambda one: (one.memory.peak_bytes, one.latency.image_s))
        if found is None:
            return None
        fastest = self.best(round(found.memory.peak_bytes * (1 + _ALIKE)))
        return fastest or found

    def fitting(self, budget_bytes: int, count: int) -> list[Foreseen]:
        """From the fastest that fits on: each takes clearly less than every one before.

        Less of the device, or less of the host. Out of all that were looked at so far.
        """
        fits = [one for one in self.looked_at if one.memory.peak_bytes <= budget_bytes]
        chosen: list[Foreseen] = []
        for one in sorted(fits, key=lambda one: (one.latency.image_s, one.memory.peak_bytes)):
            one = self._simplified(one, budget_bytes)
            if all(_takes_less(one, other) for other in chosen):
                chosen.append(one)
            if len(chosen) == count:
                break
        return chosen

    def _evaluate(self, candidate: Candidate) -> Foreseen | None:
        admission = self._admission
        if admission.broken(candidate) is not None:
            return None
        plan, memory = admission.planned(candidate)
        most = admission.host_bytes
        on_host = admission.device.kind in ("cpu", "mps")
        if most is not None and not on_host and memory.host_bytes > most:
            return None
        latency = predict(admission.profile, plan, candidate, self._ceilings)
        return Foreseen(candidate=candidate, memory=memory, latency=latency)

    def _simplified(self, one: Foreseen, budget_bytes: int) -> Foreseen:
        """The candidate without the changes that gain next to nothing, as long as it fits."""
        for lever in self.space.changes(one.candidate):
            own = self.foresee({**one.candidate, lever: self.space.baseline[lever]})
            if own is None or own.memory.peak_bytes > budget_bytes:
                continue
            if own.latency.image_s <= one.latency.image_s * (1 + _ALIKE):
                one = own
        return one

    def _search(self, score: Callable[[Foreseen], Score]) -> Foreseen | None:
        for start in self._starts(score):
            self._climb(start, score)
        known = self.looked_at
        # What another question came upon may be better than where the climbs ended.
        return self._climb(min(known, key=score), score) if known else None

    def _starts(self, score: Callable[[Foreseen], Score]) -> list[Foreseen]:
        """The best by what is asked for, and the fastest, which other levers may make fit."""
        if self._started is None:
            self._started = list(self._foreseen(self._together(self.space.baseline, _DECISIVE)))
        found = self._started
        best = sorted(found, key=score)[:_STARTS]
        fastest = sorted(found, key=lambda one: one.latency.image_s)[:_STARTS]
        own = self.foresee(self.space.baseline)
        return [*best, *fastest, *([own] if own else [])]

    def _together(self, base: Candidate, names: Iterable[str]) -> Iterator[Candidate]:
        """The candidate with some levers at all of their choices."""
        levers = {name: self.space.open_levers.get(name, (base.get(name),)) for name in names}
        for ids in product(*levers.values()):
            changed = dict(zip(levers, ids, strict=True))
            yield {**base, **{name: id for name, id in changed.items() if id is not None}}

    def _climb(self, start: Foreseen, score: Callable[[Foreseen], Score]) -> Foreseen:
        best = start
        for _ in range(_ROUNDS):
            before = best
            for names in (*((lever,) for lever in self.space.open_levers), *_PAIRS):
                others = self._together(best.candidate, names)
                best = min(self._foreseen(others), key=score, default=best)
            if best is before:
                break
        return best

    def _foreseen(self, candidates: Iterable[Candidate]) -> Iterator[Foreseen]:
        return (one for one in map(self.foresee, candidates) if one is not None)


def _takes_less(one: Foreseen, other: Foreseen) -> bool:
    return (
        one.memory.peak_bytes <= other.memory.peak_bytes * _LEANER
        or one.memory.host_bytes < other.memory.host_bytes * _LEANER_BESIDE
    )
