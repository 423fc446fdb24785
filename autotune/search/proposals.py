"""Ask an Optuna study for candidates and tell it how they ended: live, and in a replay.

A candidate that does not fit or does not run is told as complete with a violated constraint: told
as failed, TPE would propose it for ever (measured, design D2).
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import Trial, TrialState

from autotune.errors import CannotRun
from autotune.records import Candidate, candidate_key
from autotune.search.sampler import BUDGET, NUMBER, PEAK, TIME, UNTIMED_S, why
from autotune.search.space import Space, every
from autotune.search.verdict import Judged

#: Proposals in a row that were seen before or may not stand, after which the rest is drawn by lot.
_PATIENCE = 64
#: Spaces up to this size are listed whole to draw from, of larger ones so many are looked at.
LISTABLE, _DRAWS = 20_000, 2_000
#: Why a candidate is tried that a recipe of a near machine chose.
FROM_BOOK = "start, from the book"
#: The constraint of what may not stand or does not run.
_RUNS = "runs"
_REFUSED = Judged(failed=True)


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A candidate to try, and why."""

    candidate: Candidate
    why: str
    trial: Trial


class Proposals:
    """The baseline, then what a sampler proposes: nothing twice, and nothing that may not stand.

    Args:
        space: What can be chosen.
        sampler: What chooses.
        first: What is tried before the sampler is asked: starts, from a book of recipes.
        label: The reason that is given where the sampler gives none.
        listed: Candidates to propose in this order, and no others: the sampler is not asked.
        admitted: Whether a candidate may stand. What may not costs no trial.
        all_: Every candidate there is, where they are known: of a space that is not recorded
            whole, or too large to be listed.
        seed: Of what is drawn where the sampler only repeats itself.
    """

    def __init__(
        self,
        space: Space,
        sampler: BaseSampler,
        *,
        label: str,
        first: Iterable[Candidate] = (),
        listed: Iterable[Candidate] | None = None,
        admitted: Callable[[Candidate], bool] = lambda _: True,
        all_: Sequence[Candidate] | None = None,
        seed: int = 0,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space = space
        self._label = label
        self._admitted = admitted
        self._all = all_
        self._stopped = False
        self._only_listed = listed is not None
        self._lot = random.Random(seed)
        self._levers = space.open_levers
        self._seen: dict[str, Judged] = {}
        self._study = optuna.create_study(sampler=sampler, direction="minimize")
        self._queue = deque([(space.baseline, "baseline")])
        self._queue.extend((one, FROM_BOOK) for one in first)
        self._queue.extend((one, label) for one in listed or () if one != space.baseline)

    @property
    def listed(self) -> int:
        """How many candidates wait in a list."""
        return len(self._queue)

    def ask(self) -> Proposal | None:
        """The next candidate not told before, or ``None`` when there is none left."""
        for _ in itertools.count() if self._only_listed else range(_PATIENCE):
            if self._stopped or (self._only_listed and not self._queue):
                return None
            proposal = self._ask()
            if self._is_new(proposal.candidate):
                return proposal
            known = self._seen.get(candidate_key(proposal.candidate), _REFUSED)
            self._finish(proposal.trial, known)
        drawn = self._draw()
        if drawn is None:
            return None
        self._queue.append((drawn, "drawn by lot"))
        return self._ask()

    def tell(self, proposal: Proposal, judged: Judged, number: int) -> None:
        """Report how a candidate's trial ended, and the number that people know it by."""
        self._seen[candidate_key(proposal.candidate)] = judged
        proposal.trial.set_user_attr(NUMBER, number)
        self._finish(proposal.trial, judged)

    def known(self, candidate: Candidate, judged: Judged, number: int) -> None:
        """Learn how a candidate ended that was tried elsewhere, before anything is asked."""
        if self._queue and self._queue[0][0] == candidate:
            self._queue.popleft()
        self._queue.appendleft((candidate, "known"))
        self.tell(self._ask(), judged, number)

    def put_back(self, proposal: Proposal) -> None:
        """Report that the environment, not the candidate, failed: it is proposed again, next."""
        self._study.tell(proposal.trial, state=TrialState.FAIL)
        self._queue.appendleft((proposal.candidate, proposal.why))

    def _ask(self) -> Proposal:
        reason = None
        if self._queue:
            queued, reason = self._queue.popleft()
            self._study.enqueue_trial({lever: queued[lever] for lever in self._levers})
        try:
            trial = self._study.ask()
            chosen = {
                lever: str(trial.suggest_categorical(lever, ids))
                for lever, ids in self._levers.items()
            }
        except ImportError as error:  # Optuna imports what a sampler needs when it needs it
            raise CannotRun(
                f"the sampler {self._label} needs {error.name}",
                hint=f"pip install {error.name}",
            ) from None
        if reason is None:
            reason = why(self._study.get_trials(deepcopy=False)[-1]) or self._label
        return Proposal(candidate=self._whole(chosen), why=reason, trial=trial)

    def _is_new(self, candidate: Candidate) -> bool:
        if candidate_key(candidate) in self._seen:
            return False
        return candidate == self._space.baseline or self._admitted(candidate)

    def _finish(self, trial: Trial, judged: Judged) -> None:
        trial.set_constraint(BUDGET, judged.over)
        trial.set_constraint(TIME, float(judged.too_slow))
        trial.set_constraint(_RUNS, float(judged.failed))
        if judged.peak_bytes is not None:
            trial.set_user_attr(PEAK, judged.peak_bytes)
        try:
            self._study.tell(trial, UNTIMED_S if judged.latency_s is None else judged.latency_s)
        except RuntimeError as error:
            # What a sampler says that has nothing left (BruteForceSampler); the trial is told.
            if "Study.stop" not in str(error):
                raise
            self._stopped = True

    def _draw(self) -> Candidate | None:
        """A candidate that is new, by lot; ``None`` if there is none left, or none was found."""
        if self._all is not None or self._space.size <= LISTABLE:
            candidates = list(every(self._space) if self._all is None else self._all)
            self._lot.shuffle(candidates)
        else:
            candidates = [self._by_lot() for _ in range(_DRAWS)]
        return next(filter(self._is_new, candidates), None)

    def _by_lot(self) -> Candidate:
        return self._whole({lever: self._lot.choice(ids) for lever, ids in self._levers.items()})

    def _whole(self, chosen: Mapping[str, str]) -> Candidate:
        return {lever: chosen.get(lever, id) for lever, id in self._space.baseline.items()}
