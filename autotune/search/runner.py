"""Runs one trial after another through an engine, and keeps their numbers and folders."""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from autotune.engine.base import Engine, Step
from autotune.errors import CannotRun
from autotune.levers import by_schedule, start_up_s
from autotune.records import Candidate, Effort, Outcome, TrialSpec, Workload
from autotune.search.calm import Calm, was_spoilt
from autotune.search.disk import check_room
from autotune.search.doubt import Doubt
from autotune.search.gate import Gate
from autotune.search.history import History, Tried, latency_of
from autotune.search.kept import Kept
from autotune.search.listener import Listener
from autotune.search.request import NOISE, Request
from autotune.search.verdict import GIVE_UP_SHARE
from autotune.status import Status
from autotune.trial.wire import longest_silence

_POLL_S = 0.25
#: The engine kills a stubborn trial after 5 s, and a large one takes a while to go: 30 s after
#: that nothing will end it (fault matrix T11). A cold start may come before its deadline.
_CANCEL_S = 35.0
_STUCK_S = 95.0
#: Who interrupts waits no longer than it takes to kill a stubborn trial: the study's own end kills
#: whatever is left.
_INTERRUPTED_S = 7.0
#: A baseline may be a large model on a slow device; half an hour is the longest worth waiting.
_BASELINE_DEADLINE_S = 1800.0
#: Other trials get ten times what the baseline took, never less than this.
_DEADLINE_FLOOR_S = 60.0
_DEADLINE_SHARE = 10.0
#: Nor may they say nothing of where they are for five times as long as the baseline ever did: a
#: call that takes longer has lost, and what is quantized when it is loaded rarely takes as long.
_SILENCE_SHARE = 5.0
#: A screen runs a third of the steps, and never fewer than these; below that time of the baseline
#: it runs all: what is reckoned is a few per cent off, and load and warm-up decide what it costs.
_SHARE_OF_STEPS, _FEWEST_STEPS, _WORTH_SHORTENING_S = 1 / 3, 8, 2.0
#: Failures of the environment in a row, after which going on would only burn time (§3).
MOST_RETRIES = 2


@dataclass(kw_only=True)
class Runner:
    """Runs candidates; ``stop_at`` is the monotonic time after which nothing new is started.

    ``doubt`` says of a measurement why it cannot be true, if so. What is ``kept`` of the study's
    trials is not run again.
    """

    engine: Engine
    request: Request
    listener: Listener
    history: History
    stop_at: float | None = None
    doubt: Doubt = lambda candidate, outcome: None
    gate: Gate = field(default_factory=Gate)
    count: int = 0
    kept: Kept = field(default_factory=Kept)
    calm: Calm = field(init=False)
    _baseline_s: float | None = field(default=None, init=False)
    _silence_s: float | None = field(default=None, init=False)
    _spoilt: Outcome | None = field(default=None, init=False)

    #: The number of the last trial that has a folder.
    _highest: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._highest = self.kept.highest
        self.calm = Calm(device=self.request.device, say=self.listener.said)

    def turn_to(self, request: Request, history: History) -> None:
        """Run trials for another budget from now on, and note them in its history."""
        self.request, self.history = request, history

    def screen(self, candidate: Candidate, why: str, effort: Effort) -> Tried:
        """Run a search trial under the budget and note it in the history."""
        best = next(iter(self.history.feasible()), None)
        give_up = best.latency_s * GIVE_UP_SHARE if best and best.latency_s else None
        effort = effort.but(steps=self._few_steps(candidate))
        tried = self._run(candidate, "screen", why, effort, self.request.budget_bytes, give_up)
        tried = self.gate.judged(tried)
        self.history.add(tried)
        self.listener.ended(tried, self.history)
        return tried

    def baseline(self, candidate: Candidate, effort: Effort) -> Tried:
        """Run the baseline without the budget: it is what everything is compared with."""
        tried = self._run(candidate, "baseline", "baseline", effort, None, None)
        if tried.outcome.status is Status.MEASURED:
            # One that failed early says nothing about how long the others may take.
            self._baseline_s = tried.outcome.seconds
            self._silence_s = longest_silence(self._trials / tried.outcome.trial)
        self.history.add(tried)
        self.listener.ended(tried, self.history)
        return tried

    def noise(self, candidate: Candidate) -> Tried:
        """Run what should make the baseline's pictures, without the budget, like the baseline."""
        tried = self._run(candidate, "noise", "noise of the model", NOISE, None, None)
        self.listener.ended(tried, self.history)
        return tried

    def repeat(
        self,
        candidate: Candidate,
        why: str,
        effort: Effort,
        *,
        budget_bytes: int | None,
        workload: Workload | None = None,
    ) -> Tried:
        """Run a trial after the search: of a run-off or a confirmation, or a sizing."""
        purpose = why if why in ("run-off", "confirm") else "size"
        tried = self._run(candidate, purpose, why, effort, budget_bytes, None, workload)
        self.listener.ended(tried, self.history)
        return tried

    def discard_prepared(self) -> None:
        """Delete what trials kept for each other: quantized weights of large models are large."""
        shutil.rmtree(self._prepared, ignore_errors=True)

    @property
    def _trials(self) -> Path:
        return self.request.folder / "trials"

    @property
    def _prepared(self) -> Path:
        return self.request.folder / "prepared"

    def _reference(self, purpose: str, effort: Effort, workload: Workload | None) -> str | None:
        """Where the baseline's pictures are, for trials that make the same ones."""
        other = workload is not None or effort.steps is not None or purpose == "size"
        return None if other else str(self.request.folder / "reference")

    @property
    def time_is_up(self) -> bool:
        """Whether the study's time has run out."""
        return self.stop_at is not None and time.monotonic() >= self.stop_at

    def has_time(self, seconds: float) -> bool:
        """Whether so much of the study's time is left."""
        return self.stop_at is None or time.monotonic() + seconds < self.stop_at

    def _run(
        self,
        candidate: Candidate,
        purpose: str,
        why: str,
        effort: Effort,
        budget_bytes: int | None,
        give_up_above_s: float | None,
        workload: Workload | None = None,
    ) -> Tried:
        self.count += 1
        spec = TrialSpec.model_validate(
            {
                "trial": f"{self._highest + 1:04d}",
                "purpose": purpose,
                "model": self.request.model,
                "choices": dict(candidate),
                "workload": workload or self.request.model.workload,
                "device": self.request.device,
                "effort": effort,
                "budget_bytes": budget_bytes,
                "deadline_s": self._deadline(candidate),
                "silence_s": self._silence(candidate),
                "give_up_above_s": give_up_above_s,
                "ram_bytes": self.request.ram_bytes,
                "prepared": str(self._prepared),
                "reference": self._reference(purpose, effort, workload),
            }
        )
        start = time.monotonic()
        outcome = self.kept.take(spec)
        kept = outcome is not None
        if outcome is None:
            outcome = self._run_now(spec, candidate, why)
        problem = self.doubt(candidate, outcome) if outcome.status is Status.MEASURED else None
        if problem is not None:
            outcome = outcome.but(status=Status.IMPLAUSIBLE, message=problem)
        return Tried(
            number=int(outcome.trial),
            candidate=dict(candidate),
            why=why,
            outcome=outcome,
            steps=effort.steps,
            objective=self.request.objective,
            cost_s=outcome.seconds if kept else time.monotonic() - start,
        )

    def _run_now(self, spec: TrialSpec, candidate: Candidate, why: str) -> Outcome:
        check_room(self.request.folder)
        if self._spoilt is not None:
            self.calm.wait(self._spoilt, self.stop_at)
        if self.request.objective.counts_start:
            self.discard_prepared()  # each compiles, and quantizes, as if it were the first
        self._highest += 1
        self.listener.started(self._highest, candidate, why)
        self.engine.submit(spec, self._trials / spec.trial)
        try:
            outcome = self._wait(spec.trial, spec.deadline_s + _STUCK_S)
        except KeyboardInterrupt:
            with contextlib.suppress(CannotRun):
                self._cancel(spec.trial, _INTERRUPTED_S)
            raise
        self._spoilt = outcome if was_spoilt(outcome) else None
        return outcome

    def _few_steps(self, candidate: Candidate) -> int | None:
        """With how few steps a candidate is screened; ``None`` for all of them.

        All where there are not many, where they take no time, and where they differ.
        """
        steps, baseline = self.request.model.workload.steps, self.history.baseline
        latency_s = latency_of(baseline.outcome) if baseline else None
        if latency_s is None or latency_s < _WORTH_SHORTENING_S or by_schedule(candidate):
            return None
        few = max(_FEWEST_STEPS, math.ceil(steps * _SHARE_OF_STEPS))
        return few if few < steps else None

    def _deadline(self, candidate: Candidate) -> float:
        """What the baseline lets expect, and what the levers need to start up (compile)."""
        expected = _BASELINE_DEADLINE_S
        if self._baseline_s is not None:
            expected = max(_DEADLINE_FLOOR_S, self._baseline_s * _DEADLINE_SHARE)
        return expected + start_up_s(candidate)

    def _silence(self, candidate: Candidate) -> float | None:
        """How long a trial may say nothing of where it is; ``None`` before the baseline ran."""
        if self._silence_s is None:
            return None
        longest = max(_DEADLINE_FLOOR_S, self._silence_s * _SILENCE_SHARE)
        return longest + start_up_s(candidate)

    def _wait(self, trial: str, most_s: float) -> Outcome:
        give_up_at = time.monotonic() + most_s
        while time.monotonic() < give_up_at:
            for event in self.engine.poll(_POLL_S):
                if isinstance(event, Step):
                    self.listener.stepped(event)
                elif event.trial == trial:
                    return event
            if self.time_is_up:
                return self._cancel(trial)
        raise CannotRun(
            f"trial {trial} does not end, not even when it is killed",
            hint="the device's driver may hang: look at the kernel's log",
        )

    def _cancel(self, trial: str, most_s: float = _CANCEL_S) -> Outcome:
        give_up_at = time.monotonic() + (most_s if self.engine.cancel(trial) else 0.0)
        while time.monotonic() < give_up_at:
            for event in self.engine.poll(_POLL_S):
                if isinstance(event, Outcome) and event.trial == trial:
                    return event
        raise CannotRun(f"trial {trial} could not be ended", hint="autotune doctor")


def environment_failed(outcome: Outcome) -> bool:
    """Whether the outcome says nothing about the candidate."""
    teaches = outcome.status.teaches
    return teaches is not None and teaches.value != "candidate"


def may_be_chance(outcome: Outcome) -> bool:
    """Whether the candidate deserves a second try: what was seen can come from elsewhere."""
    return outcome.status in (Status.CRASHED, Status.HUNG, Status.IMPLAUSIBLE)
