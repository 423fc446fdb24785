"""What is foreseen of the candidates of a study: asked once of each, and what came of refusing."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from autotune.estimate.ceilings import Ceilings
from autotune.objective import STEADY, Objective
from autotune.records import Candidate
from autotune.search.admission import Admission
from autotune.search.pool import Expected, Settings
from autotune.search.sampler import LISTED
from autotune.search.shortlist import Foreseen, Shortlist
from autotune.search.space import Space, one_change_each

#: Of the candidates that surely do not fit, the fastest that a recipe mentions.
_MENTIONED = 5


class Foresight:
    """Predictions for a space on a device, and which candidates may be tried."""

    def __init__(
        self,
        space: Space,
        admission: Admission,
        ceilings: Ceilings,
        objective: Objective = STEADY,
    ) -> None:
        self.space = space
        self._objective = objective
        self._admission = admission
        self._shortlist = Shortlist(space, admission, ceilings)
        #: Of a model that was not counted, times are those of its transfers alone.
        self._timed = admission.profile.uncounted is None

    def expect(self, settings: Settings) -> Expected | None:
        """What is expected of a candidate by its open levers; ``None`` if it may not be tried.

        The baseline always may: it is what everything is compared with.
        """
        candidate = {**self.space.baseline, **{name: str(id) for name, id in settings.items()}}
        one = self._shortlist.foresee(candidate)
        if one is None or (self._too_large(one) and candidate != self.space.baseline):
            return None
        return Expected(
            self._seconds(one) if self._timed else None,
            float(one.memory.expected_bytes),
            one.latency.first_extra_s,
        )

    @cached_property
    def given(self) -> tuple[Candidate, ...]:
        """Of a space too large to list, the fastest candidate that is foreseen to fit."""
        if self.space.size <= LISTED or not self._timed:
            return ()
        best = self._shortlist.best(self._admission.budget_bytes)
        return () if best is None else (best.candidate,)

    def refused(self, best: Candidate | None) -> Iterator[tuple[Candidate, str]]:
        """What was not tried, and why.

        Single changes that a rule excludes, and of those that surely do not fit the fastest that
        were foreseen to beat the best; where nothing fits, of all.
        """
        for candidate in one_change_each(self.space):
            reason = self._admission.rule(candidate)
            if reason is not None:
                yield candidate, reason
        mark = self._shortlist.foresee(best) if best else None
        larger = [
            one
            for one in self._shortlist.looked_at
            if self._too_large(one) and (mark is None or self._seconds(one) < self._seconds(mark))
        ]
        for one in sorted(larger, key=self._seconds)[:_MENTIONED]:
            yield one.candidate, str(self._admission.too_large(one.candidate))

    def _seconds(self, one: Foreseen) -> float:
        """The time that counts; what loading takes is not foreseen."""
        steady_s, extra_s = one.latency.image_s, one.latency.first_extra_s
        return self._objective.seconds(steady_s, steady_s + extra_s, 0.0) or steady_s

    def _too_large(self, one: Foreseen) -> bool:
        return one.memory.least_bytes > self._admission.budget_bytes
