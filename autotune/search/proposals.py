"""Which candidate next: the baseline, one change at a time, the best of each, constrained TPE.

The first part is deterministic and tells what each lever does by itself; with a dozen trials it is
worth more than random starts (numbers.md F3). TPE continues with everything that was seen.
Infeasible candidates are told as complete with a violated constraint: told as failed, TPE would
propose them for ever (measured, design D2).
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import optuna
from optuna.samplers import TPESampler
from optuna.trial import Trial, TrialState

from autotune.records import Candidate, candidate_key
from autotune.search.sampler import UNTIMED_S
from autotune.search.space import Space, every

#: Anything that orders candidates: less is better.
Score = tuple[float, ...]
#: Proposals that were seen before, in a row, after which the rest is drawn by lot.
_PATIENCE = 32
#: Spaces up to this size are listed whole when the sampler only repeats itself.
_LISTABLE = 100_000


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A candidate to try, and why."""

    candidate: Candidate
    why: str
    trial: Trial


class Proposals:
    """Asks and tells one Optuna study; never proposes a candidate twice.

    Args:
        space: What can be chosen.
        seed: The same seed gives the same proposals for the same outcomes.
        budget: How many trials there will be: bounds the one-change starts to two thirds of them.
        allowed: Whether a candidate may stand at all; what may not is never put together.
    """

    def __init__(
        self,
        space: Space,
        *,
        seed: int,
        budget: int,
        allowed: Callable[[Candidate], bool] = lambda _: True,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space = space
        self._allowed = allowed
        self._seen: dict[str, tuple[float, float]] = {}
        self._lot = random.Random(seed)
        starts = [space.baseline, *filter(allowed, one_change_each(space))]
        # Two thirds for what each lever does alone, the rest for combinations.
        self._starts = starts[: 1 + max(1, budget * 2 // 3)]
        self._levers = space.open_levers
        self._together = False
        self._study = optuna.create_study(
            sampler=TPESampler(seed=seed, multivariate=True, n_startup_trials=len(self._starts)),
            direction="minimize",
        )
        self._why = {candidate_key(start): "one change" for start in self._starts}
        self._why[candidate_key(space.baseline)] = "baseline"
        self._queue = deque(self._starts)

    def ask(self) -> Proposal | None:
        """The next candidate not told before, or ``None`` when there is none left."""
        if not self._together and all(candidate_key(one) in self._seen for one in self._starts):
            self._together = True
            self._put_together()
        for _ in range(_PATIENCE):
            proposal = self._ask()
            key = candidate_key(proposal.candidate)
            if key not in self._seen:
                return proposal
            self._finish(proposal.trial, *self._seen[key])
        drawn = self._draw()
        if drawn is None:
            return None
        self._queue.append(drawn)
        return self._ask()

    def tell(self, proposal: Proposal, latency_s: float | None, violation: float) -> None:
        """Report a candidate: its time if it has one, and by how much it missed (0 if it fits)."""
        value = UNTIMED_S if latency_s is None else latency_s
        self._seen[candidate_key(proposal.candidate)] = (value, violation)
        self._finish(proposal.trial, value, violation)

    def put_back(self, proposal: Proposal) -> None:
        """Report that the environment, not the candidate, failed: it is proposed again, next."""
        self._study.tell(proposal.trial, state=TrialState.FAIL)
        self._queue.appendleft(proposal.candidate)

    def _put_together(self) -> None:
        """Propose every lever's best choice at once: gains of different levers mostly add up."""
        seen = {key: (violation, value) for key, (value, violation) in self._seen.items()}
        candidate = best_of_each(self._space, seen, self._allowed)
        self._why.setdefault(candidate_key(candidate), "best of each lever")
        self._queue.append(candidate)

    def _ask(self) -> Proposal:
        if self._queue:
            queued = self._queue.popleft()
            self._study.enqueue_trial({lever: queued[lever] for lever in self._levers})
        trial = self._study.ask()
        chosen = {
            lever: str(trial.suggest_categorical(lever, ids))
            for lever, ids in self._levers.items()
        }
        candidate = {lever: chosen.get(lever, id) for lever, id in self._space.baseline.items()}
        why = self._why.get(candidate_key(candidate), "sampled")
        return Proposal(candidate=candidate, why=why, trial=trial)

    def _finish(self, trial: Trial, value: float, violation: float) -> None:
        trial.set_constraint("budget", violation)
        self._study.tell(trial, value)

    def _draw(self) -> Candidate | None:
        """A candidate that was not seen yet, by lot; ``None`` if there is none left."""
        if self._space.size <= _LISTABLE:
            rest = [one for one in every(self._space) if candidate_key(one) not in self._seen]
            return self._lot.choice(rest) if rest else None
        # A space that cannot be listed is never nearly used up: a few draws find an unseen one.
        while True:
            chosen = {lever: self._lot.choice(ids) for lever, ids in self._levers.items()}
            candidate = {**self._space.baseline, **chosen}
            if candidate_key(candidate) not in self._seen:
                return candidate


def one_change_each(space: Space) -> Iterator[Candidate]:
    """The baseline with one lever changed; each lever has its first turn before any a second."""
    turns = [
        [{**space.baseline, lever: id} for id in ids if id != space.baseline[lever]]
        for lever, ids in space.open_levers.items()
    ]
    for round_ in itertools.zip_longest(*turns):
        yield from (candidate for candidate in round_ if candidate is not None)


def best_of_each(
    space: Space, seen: Mapping[str, Score], allowed: Callable[[Candidate], bool]
) -> dict[str, str]:
    """The baseline with each lever at the choice that was best alone, as far as they go together.

    Args:
        space: What can be chosen.
        seen: How good each candidate was, by its key; less is better.
        allowed: Whether a candidate may stand; where two best choices may not stand together,
            the better one is taken.
    """
    better = []
    for lever, ids in space.open_levers.items():
        alone = {id: seen.get(candidate_key({**space.baseline, lever: id})) for id in ids}
        known = {id: score for id, score in alone.items() if score is not None}
        if known:
            best = min(known, key=lambda id: known[id])
            better.append((known[best], lever, best))
    together = dict(space.baseline)
    for _, lever, best in sorted(better):
        if allowed(together | {lever: best}):
            together[lever] = best
    return together
