"""A study from first to last: baseline, search, confirmation, recipe (design §7).

One coordinator asks, runs and tells; outcome files in the run folder are the truth.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from autotune.engine.base import Engine
from autotune.errors import CannotRun, NoResult
from autotune.estimate.ceilings import Ceilings, known_ceilings
from autotune.estimate.profile import PROFILE, Profile, bare_profile, read_profile
from autotune.recipe.schema import Recipe
from autotune.recipe.write import write_recipe
from autotune.records import InspectSpec, Outcome, Status, candidate_key
from autotune.search.admission import Admission
from autotune.search.confirm import PAIRS, confirm
from autotune.search.doubt import make_doubt
from autotune.search.foresight import Foresight
from autotune.search.funnel import count_funnel
from autotune.search.history import History, Tried
from autotune.search.listener import Listener
from autotune.search.needed import Needed, find_needed
from autotune.search.proposals import Proposal, Proposals
from autotune.search.publish import Winner, compose, provisional_winner, winner_of
from autotune.search.request import SCREEN, Request
from autotune.search.ruled import refuse_pins, ruled
from autotune.search.runner import MOST_RETRIES, Runner, environment_failed, may_be_chance
from autotune.search.samplers import make_proposals
from autotune.search.space import build_space
from autotune.search.verdict import judge

#: Finalists whose confirmation may fail before the best of the rest is not worth confirming.
_MOST_FINALISTS = 3


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a study ended."""

    status: Literal["ok", "provisional", "none_fits"]
    recipe: Recipe | None
    recipe_path: Path | None
    folder: Path
    history: History
    needed: Needed | None
    trials: int
    seconds: float
    out_of_time: bool = False
    stopped_by: KeyboardInterrupt | None = None

    @property
    def interrupted(self) -> bool:
        """Whether somebody ended the study before it was done."""
        return self.stopped_by is not None


def run_study(
    request: Request, engine: Engine, listener: Listener, ceilings: Ceilings | None = None
) -> Result:
    """Run a study to its recipe, or to the smallest budget that would do.

    An interrupt ends it early: what was measured so far is written as provisional.

    Args:
        request: What is asked.
        engine: What runs trials.
        listener: Is told what happens.
        ceilings: Of the device; by default what is known of it.

    Raises:
        BadInput: Before the first trial, if the rules leave nothing to try.
        CannotRun: If the baseline shows that nothing can run here, or the environment gives out.
        NoResult: If no finalist held in fresh processes.
    """
    start = time.monotonic()
    inspection = engine.inspect(
        InspectSpec(model=request.model, device=request.device), request.folder / "inspect"
    )
    admission = _admission(request)
    space = build_space(inspection.choices, request.definition, request.pins, request.quality)
    refuse_pins(request.pins, admission)
    space = ruled(space, admission)
    foresight = Foresight(space, admission, ceilings or known_ceilings(request.device))
    proposals = make_proposals(
        space,
        foresight.expect,
        given=foresight.given,
        sampler=request.sampler,
        budget_bytes=request.budget_bytes,
        trials=request.trials,
        seed=request.seed,
        exhaustive=request.exhaustive,
    )
    if request.exhaustive:
        request = replace(request, trials=proposals.listed)
    listener.planned(request, space, count_funnel(space, admission))
    history = History(space=space, budget_bytes=request.budget_bytes)
    stop_at = None if request.time_s is None else start + request.time_s
    runner = Runner(
        engine=engine,
        request=request,
        listener=listener,
        history=history,
        stop_at=stop_at,
        doubt=make_doubt(request.model, request.device, admission.profile),
    )
    study = _Study(runner=runner, proposals=proposals)
    winner, needed, stopped_by, broke = None, None, None, None
    try:
        study.search()
        if history.feasible():
            winner = study.decide()
        elif not runner.time_is_up:
            listener.chapter("Nothing fits: measuring what would")
            needed = find_needed(runner, history, admission)
    except KeyboardInterrupt as interrupt:
        stopped_by = interrupt
    except CannotRun as error:
        broke = error  # raised again once the best so far is safe
    finally:
        runner.discard_prepared()
    best = history.finalist()
    if winner is None and best is not None:
        winner = provisional_winner(best, history)
    for candidate, reason in foresight.refused(best.candidate if best else None):
        history.refuse(candidate, reason)
    seconds = time.monotonic() - start
    recipe = None
    if winner is not None:
        recipe = compose(request, history, winner, trials=runner.count, seconds=seconds)
        write_recipe(recipe, request.recipe_path, overwrite=request.overwrite)
    if broke is not None:
        if recipe is not None:
            listener.said(f"the best so far is kept as provisional: {request.recipe_path}")
        raise broke
    return Result(
        status=_status(winner),
        recipe=recipe,
        recipe_path=request.recipe_path if recipe else None,
        folder=request.folder,
        history=history,
        needed=needed,
        trials=runner.count,
        seconds=seconds,
        out_of_time=runner.time_is_up,
        stopped_by=stopped_by,
    )


def _admission(request: Request) -> Admission:
    return Admission(
        model=request.model,
        device=request.device,
        budget_bytes=request.budget_bytes,
        software=request.fingerprint.software,
        host_bytes=request.ram_bytes or request.machine.host.most_bytes,
        profile=_profile(request),
    )


def _profile(request: Request) -> Profile:
    """What the inspection counted; where an engine left nothing, the number of the weights."""
    path = request.folder / "inspect" / PROFILE
    return read_profile(path) if path.exists() else bare_profile(request.model)


def _status(winner: Winner | None) -> Literal["ok", "provisional", "none_fits"]:
    if winner is None:
        return "none_fits"
    return "ok" if winner.confirmed else "provisional"


class _Study:
    """The parts of a study that share its objects."""

    def __init__(self, *, runner: Runner, proposals: Proposals) -> None:
        self._request = runner.request
        self._history = runner.history
        self._runner = runner
        self._listener = runner.listener
        self._proposals = proposals
        self._chances: dict[str, int] = {}

    def search(self) -> None:
        """Try candidates until the trials, the time or the space run out."""
        self._listener.chapter("Search")
        while self._runner.count < self._request.trials and not self._must_confirm_now():
            proposal = self._proposals.ask()
            if proposal is None:
                self._listener.said("nothing is left to try that may fit")
                return
            if not self._try(proposal):
                return

    def _try(self, proposal: Proposal) -> bool:
        """Run one proposal and tell it; false when the study's time ran out meanwhile."""
        candidate = proposal.candidate
        is_baseline = candidate == self._history.space.baseline
        if is_baseline:
            tried = self._runner.baseline(candidate, SCREEN)
        else:
            tried = self._runner.screen(candidate, proposal.why, SCREEN)
        outcome = tried.outcome
        if outcome.status is Status.CANCELLED and self._runner.time_is_up:
            return False
        if self._again(candidate_key(candidate), outcome):
            self._proposals.put_back(proposal)
            return True
        if is_baseline:
            self._check_baseline(outcome)
        self._tell(proposal, tried)
        return True

    def _tell(self, proposal: Proposal, tried: Tried) -> None:
        judged = judge(
            tried.outcome.status, tried.latency_s, tried.peak_bytes, self._request.budget_bytes
        )
        self._proposals.tell(proposal, judged, tried.number)

    def _again(self, key: str, outcome: Outcome) -> bool:
        """Whether the candidate gets another try, because the failure may not be its own."""
        environment = environment_failed(outcome)
        if not environment and not may_be_chance(outcome):
            return False
        self._chances[key] = self._chances.get(key, 0) + 1
        if environment and self._chances[key] > MOST_RETRIES:
            raise CannotRun(
                f"{outcome.status.sentence} {self._chances[key]} times: {outcome.message}",
                hint=f"the logs are in {self._request.folder / 'trials'}",
            )
        return environment or self._chances[key] == 1

    def _check_baseline(self, outcome: Outcome) -> None:
        """A baseline that fails for another reason than memory says that nothing will run."""
        memory = (Status.OUT_OF_VRAM, Status.OUT_OF_RAM, Status.OVER_BUDGET)
        if outcome.status is Status.MEASURED:
            return
        if outcome.status in memory:
            self._listener.said(
                f"the baseline itself {outcome.status.sentence}: there is nothing to compare with"
            )
            return
        raise CannotRun(
            f"the baseline does not run: {outcome.status.sentence} ({outcome.message})",
            hint=f"its log is in {self._request.folder / 'trials' / outcome.trial}",
        )

    def _must_confirm_now(self) -> bool:
        """Whether the time left is only just enough to confirm."""
        stop_at = self._runner.stop_at
        if stop_at is None:
            return False
        best = next(iter(self._history.feasible()), None)
        reserve = 2 * PAIRS * best.outcome.seconds if best else 0.0
        return time.monotonic() + reserve >= stop_at

    def decide(self) -> Winner | None:
        """Confirm the finalist; if it fails, the next. ``None`` if there was no time."""
        self._listener.chapter("Confirmation")
        for _ in range(_MOST_FINALISTS):
            best = self._history.finalist()
            if best is None:
                break
            finalist = best.candidate
            baseline = self._history.baseline
            ran = baseline is not None and baseline.outcome.status is Status.MEASURED
            confirmed = confirm(
                self._runner, finalist, self._history.space.baseline if ran else None
            )
            if confirmed.cut_short:
                return None
            if confirmed.failed is None:
                return winner_of(confirmed, self._request)
            self._history.disprove(confirmed.failed)
            self._listener.said(
                "the finalist failed in a fresh process "
                f"({confirmed.failed.outcome.status.sentence}): the next one is confirmed instead"
            )
        raise NoResult(
            "no candidate held in fresh processes; the fastest were tried: "
            f"{len(self._history.disproved)}",
            hint="leave more room: give a larger --vram",
        )
