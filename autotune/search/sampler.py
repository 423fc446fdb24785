"""ShortlistSampler: the search as an ordinary Optuna sampler."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from autotune.search.policy import Ended, Pick, Policy, Prepares, Told
from autotune.search.pool import Foresee, Pool, Settings, Value, expect_nothing

#: The user attribute in which an objective may say what a trial's peak was.
PEAK = "peak_bytes"
#: The user attribute in which a trial may carry the number that people know it by.
NUMBER = "number"
#: The constraints that a peak beyond the budget violates, and a trial that was given up as too
#: slow; any other that is violated is a failure.
BUDGET, TIME = "budget", "time"
#: What a trial without a time is told as; any large number will do (measured, §3).
UNTIMED_S = 1e9
#: Where the sampler notes what it picked and why.
_PICK = "autotune:pick"
#: Trials without a gain after which TPE has every second turn (numbers.md F3: a local search owns
#: the first thirty, then TPE that has seen everything is better).
_STALLED = 10
#: Proposals of TPE that may not stand, or were seen, after which the turn is given back.
_PATIENCE = 8
#: What is foreseen this many times too large is not worth a turn of TPE, which knows no sizes.
_HOPELESS = 1.25
#: Spaces up to this size are listed; a candidate of the estimator takes 0.2 ms.
LISTED = 4_000


class ShortlistSampler(BaseSampler):
    """Starts from an estimator's order, then changes one choice at a time, then asks TPE.

    Made for seconds that are to be few: what is minimized has to be positive, and every parameter
    categorical. Everything else, and what a trial asks for beside ``levers``, is left to TPE. A
    candidate is never proposed twice, as long as there is another.

    Args:
        levers: The parameters and their choices. Left out, they are those that all trials so far
            have in common, and the first trials are TPE's.
        baseline: Where to begin; by default the first choice of each.
        foresee: What is expected of a candidate, or ``None`` if it must not be tried.
        budget_bytes: What peaks have to stay within. A trial says its own peak in the user
            attribute ``peak_bytes``, and a violation in a constraint named ``budget``. One that
            did not get as far as a time is told as ``UNTIMED_S``, with its constraint: ``time``
            if it was given up as too slow, any other if it failed.
        given: Candidates to start from.
        starts: How many starts there are before the local search.
        trials: How many trials there will be, if that is known: the last fifth of them first tries
            whether the best can do without one of its changes.
        prepares: What a candidate needs prepared, by name: of two that promise alike, the one
            that needs less that is new is tried.
        seed: Of TPE. The rest leaves nothing to chance.
        listed: Spaces up to this size are listed whole.
    """

    def __init__(
        self,
        levers: Mapping[str, Sequence[Value]] | None = None,
        *,
        baseline: Settings | None = None,
        foresee: Foresee = expect_nothing,
        budget_bytes: float | None = None,
        given: Sequence[Settings] = (),
        starts: int = 10,
        trials: int | None = None,
        prepares: Prepares = lambda _: (),
        seed: int | None = None,
        listed: int = LISTED,
    ) -> None:
        self._levers = levers
        self._baseline = baseline
        self._foresee = foresee
        self._budget_bytes = budget_bytes
        self._given = given
        self._starts = starts
        self._trials = trials
        self._prepares = prepares
        self._listed = listed
        self._tpe = TPESampler(seed=seed, multivariate=True, n_startup_trials=0)
        self._common = IntersectionSearchSpace()
        self._policies: dict[str, Policy] = {}

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The levers, or what all trials so far have in common."""
        if self._levers is not None:
            return _categories(self._levers)
        common = self._common.calculate(study)
        return {name: one for name, one in common.items() if not one.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The next candidate."""
        self._raise_error_if_multi_objective(study)
        if not search_space:
            return {}
        policy = self._policy(search_space)
        told = _told(study, trial, policy.pool) if policy is not None else []
        if policy is None or not _are_times(study, told):
            return self._tpe.sample_relative(study, trial, search_space)
        pick = None
        if _stalled(told, policy.starts):
            pick = self._ask_tpe(study, trial, search_space, policy, told)
        pick = pick or policy.pick(told)
        if pick is None:  # everything was tried: again, since Optuna wants an answer
            return self._tpe.sample_relative(study, trial, search_space)
        note = json.dumps({"candidate": pick.candidate, "why": pick.why})
        study._storage.set_trial_system_attr(trial._trial_id, _PICK, note)
        return pick.candidate

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """A parameter that is none of the levers."""
        self._raise_error_if_multi_objective(study)
        return self._tpe.sample_independent(study, trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        """Give TPE another seed."""
        self._tpe.reseed_rng()

    def exhausted(self, study: Study) -> bool:
        """Whether every candidate of the levers was tried."""
        if self._levers is None:
            return False
        policy = self._policy(_categories(self._levers))
        if policy is None:
            return False
        told = _told(study, None, policy.pool)
        taken = {policy.pool.find(one.candidate) for one in told}
        return len(policy.pool) <= len(taken) and policy.pick(told) is None

    def _policy(self, search_space: Mapping[str, BaseDistribution]) -> Policy | None:
        levers = {
            name: one.choices
            for name, one in search_space.items()
            if isinstance(one, CategoricalDistribution)
        }
        if len(levers) < len(search_space):
            return None
        key = repr(levers)
        if key not in self._policies:
            base = dict(self._baseline or {})
            base = {lever: base.get(lever, values[0]) for lever, values in levers.items()}
            pool = Pool(levers, base, self._foresee, listed=self._listed)
            self._policies[key] = Policy(
                pool=pool,
                base=base,
                budget_bytes=self._budget_bytes,
                given=self._given,
                starts=self._starts,
                trials=self._trials,
                prepares=self._prepares,
            )
        return self._policies[key]

    def _ask_tpe(
        self,
        study: Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
        policy: Policy,
        told: Sequence[Told],
    ) -> Pick | None:
        taken = {policy.pool.find(one.candidate) for one in told}
        most = math.inf if self._budget_bytes is None else self._budget_bytes * _HOPELESS
        for _ in range(_PATIENCE):
            candidate = self._tpe.sample_relative(study, trial, search_space)
            number = policy.pool.find(candidate) if candidate else None
            if number is None or number in taken:
                continue
            if (policy.pool.expected(number).peak_bytes or 0.0) <= most:
                return Pick(candidate=candidate, why="TPE")
        return None


def why(trial: FrozenTrial) -> str | None:
    """Why the shortlist sampler picked what a trial tries."""
    note = _note(trial)
    return str(note["why"]) if note else None


def _categories(levers: Mapping[str, Sequence[Value]]) -> dict[str, BaseDistribution]:
    return {lever: CategoricalDistribution(ids) for lever, ids in levers.items()}


def _note(trial: FrozenTrial) -> dict[str, Any] | None:
    text = trial.system_attrs.get(_PICK)
    return dict(json.loads(text)) if text else None


def _are_times(study: Study, told: Sequence[Told]) -> bool:
    positive = all(one.value is None or one.value > 0 for one in told)
    return positive and study.direction is StudyDirection.MINIMIZE


def _told(study: Study, current: FrozenTrial | None, pool: Pool) -> list[Told]:
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
    found = []
    for trial in study.get_trials(deepcopy=False, states=states):
        if current is not None and trial.number == current.number:
            continue
        note = _note(trial)
        candidate = {**(note["candidate"] if note else {}), **trial.params}
        if all(lever in candidate for lever in pool.levers):
            candidate = {lever: candidate[lever] for lever in pool.levers}
            found.append(_one(trial, candidate))
    return found


def _one(trial: FrozenTrial, candidate: Settings) -> Told:
    violated = {name for name, value in trial.constraints.items() if value > 0}
    if not trial.state.is_finished():
        ended = Ended.RUNNING
    elif violated - {BUDGET, TIME}:
        ended = Ended.FAILED
    elif BUDGET in violated:
        ended = Ended.TOO_LARGE
    elif TIME in violated:
        ended = Ended.TOO_SLOW
    else:
        ended = Ended.FITS
    value = trial.value if trial.state is TrialState.COMPLETE else None
    if ended is Ended.FAILED or (value is not None and value >= UNTIMED_S):
        value = None
    return Told(
        number=trial.user_attrs.get(NUMBER, trial.number),
        candidate=candidate,
        ended=ended,
        value=value,
        peak_bytes=trial.user_attrs.get(PEAK),
    )


def _stalled(told: Sequence[Told], starts: int) -> bool:
    """Whether it is TPE's turn: every second trial, once nothing was gained for a while."""
    best, since = None, 0
    for one in told:
        gained = one.ended is Ended.FITS and one.value is not None
        if gained and (best is None or (one.value or 0.0) < best):
            best, since = one.value, 0
        else:
            since += 1
    return len(told) > starts and since >= _STALLED and since % 2 == 0
