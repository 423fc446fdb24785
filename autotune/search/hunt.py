"""The hunt for the fastest candidate within one budget: propose, try, judge, confirm."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from autotune.errors import CannotRun, NoResult
from autotune.estimate.ceilings import Ceilings
from autotune.records import Candidate, Choice, Fidelity, Outcome, candidate_key
from autotune.search.admission import Admission
from autotune.search.bought import find_bought
from autotune.search.calm import Calm, was_spoilt
from autotune.search.confirm import confirm
from autotune.search.drift import Drift
from autotune.search.foresight import Foresight
from autotune.search.gate import is_unlike
from autotune.search.given import starts_of
from autotune.search.history import History, Tried
from autotune.search.needed import Needed, find_needed
from autotune.search.noise import find_noise
from autotune.search.policy import LAST
from autotune.search.proposals import Proposal, Proposals
from autotune.search.publish import Winner, provisional_winner, winner_of
from autotune.search.references import measure_against
from autotune.search.request import Request
from autotune.search.room import lacks_room
from autotune.search.runner import MOST_RETRIES, Runner, environment_failed, may_be_chance
from autotune.search.runoff import run_off
from autotune.search.samplers import make_proposals
from autotune.search.space import Space
from autotune.search.verdict import Judged, judge
from autotune.stats.compare import Verdict
from autotune.status import Status

#: Finalists whose confirmation may fail before the best of the rest is not worth confirming.
_MOST_FINALISTS = 3


class Hunt:
    """Everything about one budget. What other budgets' trials found out is used.

    ``winner`` and ``needed`` are what came of it, as far as it got.
    """

    def __init__(
        self,
        request: Request,
        space: Space,
        admission: Admission,
        ceilings: Ceilings,
        offered: Sequence[Choice] = (),
    ) -> None:
        self._offered = offered
        self.history = History(space=space, budget_bytes=request.budget_bytes)
        self.foresight = Foresight(space, admission, ceilings, request.objective)
        self.winner: Winner | None = None
        self.needed: Needed | None = None
        self.request = request
        self.admission = admission
        self._proposals = self._propose(request.trials)
        #: How many candidates it tries at the most.
        self.trials = self._proposals.listed if request.exhaustive else request.trials
        self._chances: dict[str, int] = {}
        self._repeated = 0
        self._begun = False
        self.drift = Drift()
        #: Whether no finalist held in fresh processes.
        self.hopeless = False
        #: Whether its time ran out before its end.
        self.cut_short = False

    def begin(self, earlier: Iterable[Hunt]) -> None:
        """Take over what the hunts for larger budgets tried, once."""
        if self._begun:
            return
        self._begun = True
        known: list[Tried] = []
        for hunt in earlier:
            known += filter(_tells_others, hunt.history.last_own())
            self.history.disproved.update(hunt.history.disproved)
        if known:
            # The last fifth of the trials is one of this hunt's own.
            self._proposals = self._propose(self.request.trials + round(len(known) / (1 - LAST)))
        for tried in known:
            self.history.take_over(tried)
            self._proposals.known(tried.candidate, self._judged(tried), tried.number)

    def run(self, runner: Runner, *, confirmed: dict[str, Winner]) -> None:
        """Search, then confirm, or find out what would fit.

        Args:
            runner: What runs trials.
            confirmed: The winners of larger budgets, by their keys: one that fits holds here too.

        Raises:
            CannotRun: If the baseline shows that nothing can run here, or the environment is out.
            NoResult: If no finalist held in fresh processes.
        """
        runner.turn_to(self.request, self.history)
        self._search(runner)
        if self.history.feasible():
            self.winner = self._decide(runner, confirmed)
            self._explain(runner)
        elif not runner.time_is_up:
            runner.listener.chapter("Nothing fits: measuring what would")
            self.needed = find_needed(runner, self.history, self.admission)

    def best_so_far(self) -> Winner | None:
        """The winner, or what was measured best in the search."""
        best = self.history.finalist()
        if self.winner is None and best is not None and not self.hopeless:
            return provisional_winner(best, self.history)
        return self.winner

    def note_refused(self) -> None:
        """Note in the history what got no trial although it looked better."""
        best = self.history.finalist()
        tried = {candidate_key(one.candidate) for one in self.history.tried}
        for candidate, reason in self.foresight.refused(best.candidate if best else None):
            if candidate_key(candidate) not in tried:
                self.history.refuse(candidate, reason)

    def _explain(self, runner: Runner) -> None:
        """Find out which of the winner's levers did it; what is known so far is kept."""
        winner = self.winner
        if winner is None or winner.bought or winner.against:
            return
        if winner.comparison.verdict is not Verdict.IS_BASELINE:
            runner.listener.chapter("What each lever bought")
            for bought in find_bought(runner, self.history, self.admission, winner.measured):
                winner = self.winner = replace(winner, bought=(*winner.bought, bought))
        if self.request.against is None:
            return
        runner.listener.chapter("Against what is advised")
        space, choices = self.history.space, winner.measured.choices
        for one in measure_against(runner, self.admission, self._offered, space.baseline, choices):
            winner = self.winner = replace(winner, against=(*winner.against, one))

    def _propose(self, trials: int) -> Proposals:
        request = self.request
        return make_proposals(
            self.history.space,
            self.foresight.expect,
            given=self.foresight.given,
            first=starts_of(
                request.starts, self.history.space, self.admission, trials=request.trials
            ),
            sampler=request.sampler,
            budget_bytes=request.budget_bytes,
            trials=trials,
            seed=request.seed,
            exhaustive=request.exhaustive,
        )

    def _search(self, runner: Runner) -> None:
        """Try candidates until the trials, the time or the space run out."""
        # Everything is everything, and what has to be tried again is no other candidate.
        end = math.inf if self.request.exhaustive else runner.count + self.trials
        while runner.count - self._repeated < end and not self._must_confirm_now(runner):
            left = end - (runner.count - self._repeated)
            self._repeated += self.drift.look(
                runner, self.history, self.request.efforts.screen, left
            )
            proposal = self._proposals.ask()
            if proposal is None:
                runner.listener.said("nothing is left to try that may fit")
                return
            if not self._try(runner, proposal):
                return

    def _try(self, runner: Runner, proposal: Proposal) -> bool:
        """Run one proposal and tell it; false when the study's time ran out meanwhile."""
        candidate = proposal.candidate
        is_baseline = candidate == self.history.space.baseline
        effort = self.request.efforts.screen
        if is_baseline:
            tried = runner.baseline(candidate, effort)
        else:
            tried = runner.screen(candidate, proposal.why, effort)
        outcome = tried.outcome
        if outcome.status is Status.CANCELLED and runner.time_is_up:
            return False
        if self._again(candidate_key(candidate), outcome, runner.calm):
            self._repeated += 1
            self._proposals.put_back(proposal)
            return True
        if is_baseline:
            self._check_baseline(runner, outcome)
            if outcome.status is Status.MEASURED:
                ran = find_noise(runner, self.admission, self._offered, candidate)
                self._repeated += ran
        self._proposals.tell(proposal, self._judged(tried), tried.number)
        return True

    def _judged(self, tried: Tried) -> Judged:
        status = tried.outcome.status
        return judge(status, tried.latency_s, tried.peak_bytes, self.request.budget_bytes)

    def _again(self, key: str, outcome: Outcome, calm: Calm) -> bool:
        """Whether the candidate gets another try, because what came out may not be its own."""
        environment, spoilt = environment_failed(outcome), was_spoilt(outcome)
        if not (environment or spoilt or may_be_chance(outcome)):
            return False
        self._chances[key] = self._chances.get(key, 0) + 1
        if spoilt:
            return self._chances[key] <= MOST_RETRIES and not calm.given_up
        if environment and self._chances[key] > MOST_RETRIES:
            raise CannotRun(
                f"{outcome.status.sentence} {self._chances[key]} times: {outcome.message}",
                hint=f"the logs are in {self.request.folder / 'trials'}",
            )
        return environment or self._chances[key] == 1

    def _check_baseline(self, runner: Runner, outcome: Outcome) -> None:
        """A baseline that fails for another reason than memory says that nothing will run."""
        memory = (Status.OUT_OF_VRAM, Status.OUT_OF_RAM, Status.OVER_BUDGET)
        if outcome.status is Status.MEASURED:
            return
        if outcome.status in memory:
            runner.listener.said(
                f"the baseline itself {outcome.status.sentence}: there is nothing to compare with"
            )
            return
        raise CannotRun(
            f"the baseline does not run: {outcome.status.sentence} ({outcome.message})",
            hint=f"its log is in {self.request.folder / 'trials' / outcome.trial}",
        )

    def _must_confirm_now(self, runner: Runner) -> bool:
        """Whether the time left is just enough to confirm; where it is less, searching goes on."""
        if runner.stop_at is None:
            return False
        left_s = runner.stop_at - time.monotonic()
        best = next(iter(self.history.feasible()), None)
        if best is None or left_s <= 0:
            return left_s <= 0
        confirm_s, next_s = self._confirm_s(best), max(one.whole_s for one in self.history.tried)
        return confirm_s <= left_s < confirm_s + next_s

    def _confirm_s(self, best: Tried) -> float:
        """What a confirmation takes."""
        efforts, baseline = self.request.efforts, self.history.baseline
        calls = efforts.confirm.warmups + efforts.confirm.samples
        # A screen may have left steps out, which a confirmation runs.
        one_s = best.whole_s + calls * best.outcome.left_out_s
        pair_s = one_s + (baseline.whole_s if baseline else one_s)
        # One more process shows whether the winner leaves room.
        return efforts.pairs * pair_s + one_s

    def _decide(self, runner: Runner, known: dict[str, Winner]) -> Winner | None:
        """Confirm the finalist; if it fails, the next. ``None`` if there was no time."""
        history, baseline = self.history, self.history.baseline
        ran = baseline is not None and baseline.outcome.status is Status.MEASURED
        best = history.finalist()
        if best is not None and candidate_key(best.candidate) not in known:
            for out in run_off(runner, history, self._confirm_s(best)):
                if is_unlike(out.outcome):
                    self._disprove_alike(out)
        left, began = _MOST_FINALISTS, False
        while left and (best := history.finalist()) is not None:
            held = known.get(candidate_key(best.candidate))
            if held is not None and held.measured.peak_bytes <= self.request.budget_bytes:
                runner.listener.said("the finalist was confirmed for a larger budget, and fits")
                return held
            if not began:
                runner.listener.chapter("Confirmation")
            began = True
            confirmed = confirm(runner, best.candidate, history.space.baseline if ran else None)
            if confirmed.cut_short:
                return None
            failed = confirmed.failed or lacks_room(runner, confirmed.finalist)
            if failed is None:
                return winner_of(confirmed, self.request)
            history.disprove(failed)
            if is_unlike(failed.outcome):
                self._disprove_alike(failed)
            else:
                left -= 1
            told = confirmed.failed is None or is_unlike(failed.outcome)
            why = failed.outcome.message if told else ""
            runner.listener.said(
                f"the finalist failed in a fresh process ({why or failed.outcome.status.sentence})"
                ": the next one is confirmed instead"
            )
        unlike = any(is_unlike(one.outcome) for one in history.disproved.values())
        quality = ", or let pictures change more: --quality any" if unlike else ""
        raise NoResult(
            "no candidate held in fresh processes; the fastest were tried: "
            f"{len(history.disproved)}",
            hint=f"leave more room: give a larger --vram{quality}",
        )

    def _disprove_alike(self, failed: Tried) -> None:
        """Drop what makes the same changes to pictures and more, where none were compared."""
        changes = self._changes_to_pictures(failed.candidate)
        if not changes:
            return
        named = ", ".join(f"{lever}={id}" for lever, id in changes.items())
        message = f"not compared: pictures with {named} differ too much from the baseline's"
        for one in self.history.feasible():
            alike = changes.items() <= one.candidate.items() and one.outcome.likeness is None
            if alike and candidate_key(one.candidate) not in self.history.disproved:
                outcome = one.outcome.but(status=Status.BAD_OUTPUT, message=message)
                self.history.disprove(replace(one, outcome=outcome))

    def _changes_to_pictures(self, candidate: Candidate) -> Candidate:
        inexact = {
            (one.lever, one.id) for one in self._offered if one.fidelity is not Fidelity.EXACT
        }
        changes = self.history.space.changes(candidate)
        return {lever: id for lever, id in changes.items() if (lever, id) in inexact}


def _tells_others(tried: Tried) -> bool:
    """Whether a trial says something about its candidate that holds for smaller budgets too.

    What was given up was slow beside the best of a larger budget, and may be the best of another.
    """
    too_slow = tried.outcome.status is Status.TOO_SLOW
    return not (too_slow or environment_failed(tried.outcome))
