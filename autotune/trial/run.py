"""Run one candidate in this process and write its outcome."""

from __future__ import annotations

import contextlib
import statistics
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from autotune import levers
from autotune.levers.base import Target
from autotune.levers.mechanisms.torch_names import is_accelerator
from autotune.records import Health, Outcome, TrialSpec, Workload
from autotune.status import Status
from autotune.trial import clock, generate, output, prepared
from autotune.trial.guard import (
    GaveUp,
    classify,
    enforce_budget,
    free_compiler,
    give_up_after,
    lift_budget,
)
from autotune.trial.memory import Meter, make_meter
from autotune.trial.weights import stored_bytes
from autotune.trial.wire import OUTCOME, PICTURE, SPEC, Progress, read_record, write_record

#: A first call also fills caches and starts threads: it may take this much longer and still win.
_FIRST_CALL_ALLOWANCE = 3.0
#: Never give up on a first call sooner: start-up costs do not scale with the model. On an
#: accelerator (second entry) kernels are loaded, and cuDNN and cuBLAS started.
_FIRST_CALL_FLOOR_S = (2.0, 15.0)
#: A trial ends itself this long before the engine would end it, so that its outcome is written.
_DEADLINE_RESERVE_S = 2.0
#: Steps at the start of a generation that say nothing, and those after them that say enough.
_UNSETTLED_STEPS, _SETTLED_STEPS = 2, 3
#: An alarm of zero would never ring.
_SHORTEST_S = 0.001


def run_folder(folder: Path) -> Outcome:
    """Read the spec in the folder, run it, and write the outcome beside it."""
    spec = read_record(folder, SPEC, TrialSpec)
    trial, outcome = _run(spec, folder)
    write_record(folder, OUTCOME, outcome)
    target = trial.target
    if outcome.status is Status.MEASURED and target is not None and target.quantization:
        # Neither time nor memory of it count: the outcome is on the disk already.
        lift_budget(spec.device)
        trial.progress.say("keep")
        prepared.keep(target)
    return outcome


def run_trial(spec: TrialSpec, folder: Path) -> Outcome:
    """Run a trial to its outcome; a failure of the candidate is an outcome, not an exception."""
    return _run(spec, folder)[1]


def _run(spec: TrialSpec, folder: Path) -> tuple[_Trial, Outcome]:
    start = time.perf_counter()
    progress = Progress(folder)
    trial = _Trial(spec=spec, folder=folder, progress=progress, start=start)
    status, message = Status.MEASURED, ""
    try:
        trial.run()
        status, message = trial.judge()
    except (Exception, GaveUp, KeyboardInterrupt) as error:
        traceback.print_exc()
        lift_budget(spec.device)
        status = classify(
            error,
            budget_bytes=spec.budget_bytes,
            stage=progress.stage,
            device=spec.device.kind,
        )
        message = _first_line(error)
    stage = progress.stage if status is not Status.MEASURED else "done"
    return trial, trial.outcome(status, stage, message, time.perf_counter() - start)


@dataclass(kw_only=True)
class _Trial:
    """The state of one running trial: what was measured so far survives a failure."""

    spec: TrialSpec
    folder: Path
    progress: Progress
    start: float
    meter: Meter | None = None
    target: Target | None = None
    load_s: float | None = None
    warmups_s: list[float] = field(default_factory=list)
    samples_s: list[float] = field(default_factory=list)
    observation: clock.Observation = field(default_factory=clock.Observation)
    health: Health | None = None
    problem: str | None = None
    reference: Any = None
    too_large: bool = False
    left_out_s: float = 0.0

    def run(self) -> None:
        """Load, warm up, observe, sample."""
        import diffusers
        import torch
        import transformers  # noqa: F401

        spec = self.spec
        # A cold process imports here, where neither time nor memory is counted; a fork has it.
        getattr(diffusers, spec.model.pipeline, None)
        if spec.threads:
            torch.set_num_threads(spec.threads)
        synchronize = clock.synchronizer(spec.device)
        self.meter = make_meter(spec.device)
        if spec.budget_bytes is not None:
            if spec.prepared and not is_accelerator(spec.device):
                free_compiler(Path(spec.prepared))
            enforce_budget(spec.device, spec.budget_bytes, torch.get_num_threads())
        self.progress.say("load")
        workload = self._workload()
        target = self.target = Target(
            model=spec.model,
            device=spec.device,
            workload=workload,
            prepared=Path(spec.prepared) if spec.prepared else None,
        )
        self.load_s, _ = clock.timed(
            lambda: generate.build_pipeline(target, spec.choices), synchronize
        )
        self.meter.mark("load")
        if self._is_over_budget():
            self.too_large = True
            return
        call = generate.caller(target.pipe, workload, target.multiple)
        watched = generate.watched(target, spec.choices)
        self._warm_up(call, synchronize, watched)
        self.left_out_s = self._left_out_s()
        self._sample(call, synchronize)
        self._count(call, clock.hidden(target, watched))

    def _warm_up(self, call: Any, synchronize: Any, watched: Mapping[str, Any]) -> None:
        """Discarded calls; the last one is observed, so the first is never slowed by watching."""
        assert self.target is not None
        assert self.meter is not None
        start_up_s = levers.start_up_s(self.spec.choices)
        # What is compiled may be so again, and CUDA graphs recorded, in the second call (M4).
        count = self.spec.effort.warmups + (start_up_s > 0)
        for number in range(count):
            self.progress.say("warmup", n=number + 1, of=count)
            last = number == count - 1
            watch: Any = contextlib.nullcontext(self.observation)
            if last:
                watch = clock.observing(
                    self.target,
                    self.meter,
                    synchronize,
                    self.progress.say,
                    watched,
                    self._end_if_hopeless,
                )
            with give_up_after(*self._patience(start_up_s)), watch as self.observation:
                seconds, result = clock.timed(lambda: call(0), synchronize)
            self.warmups_s.append(seconds)
            if not last:
                self.meter.mark("first call")
        self.target.seen = self.observation.seen
        self._check(result)

    def _count(self, call: Any, hidden: Mapping[str, Any]) -> None:
        """See what compiled code hides, in one more call: after all that is timed and measured."""
        assert self.target is not None
        if not hidden:
            return
        lift_budget(self.spec.device)
        self.progress.say("count")
        with give_up_after(*self._patience()), clock.uncompiled(hidden) as seen:
            call(0)
        self.target.seen = {**self.target.seen, **seen}

    def _patience(self, start_up_s: float = 0.0) -> tuple[float, str | None]:
        """How long one call may take, and why not longer.

        It must still be able to win, and the deadline must not be reached: ending here, with an
        outcome, tells a slow candidate from a stuck one.
        """
        spent = time.perf_counter() - self.start
        left = max(_SHORTEST_S, self.spec.deadline_s - _DEADLINE_RESERVE_S - spent)
        if self.spec.give_up_above_s is not None:
            floor = _FIRST_CALL_FLOOR_S[is_accelerator(self.spec.device)]
            wins = self.spec.give_up_above_s * (self.target.multiple if self.target else 1)
            limit = max(floor, wins * _FIRST_CALL_ALLOWANCE) + start_up_s
            if limit < left:
                return limit, None
        return left, f"the deadline of {self.spec.deadline_s:.3g} s was reached"

    def _end_if_hopeless(self, forwards_s: Sequence[float]) -> None:
        """End a generation whose steps alone will take longer than can win.

        Never from the first steps; and not with a cache, whose later steps cost less.
        """
        limit, later = self.spec.give_up_above_s, forwards_s[_UNSETTLED_STEPS:]
        if limit is None or len(later) < _SETTLED_STEPS or self.target is None:
            return
        if levers.by_schedule(self.spec.choices):
            return
        # Every step calls the denoiser once at the least.
        least_s = statistics.median(later) * self.spec.workload.steps / self.target.multiple
        if least_s > limit:
            raise GaveUp(
                f"its {self.spec.workload.steps} steps alone take {least_s:.3g} s, "
                f"{limit:.3g} s would be too much"
            )

    def _workload(self) -> Workload:
        """What each generation makes: the workload, with fewer steps if that is asked for."""
        work, few = self.spec.workload, self.spec.effort.steps
        return work if few is None else work.but(steps=min(few, work.steps))

    def _left_out_s(self) -> float:
        """What the steps would have taken that each generation leaves out, from those it has."""
        few, whole = self._workload().steps, self.spec.workload.steps
        forwards_s = self.observation.forwards_s
        later = forwards_s[_UNSETTLED_STEPS:] or forwards_s
        if few == whole or not later or self.target is None:
            return 0.0
        calls_a_step = len(forwards_s) / few
        step_s = statistics.median(later) * calls_a_step / self.target.multiple
        return (whole - few) * step_s

    def _sample(self, call: Any, synchronize: Any) -> None:
        """Timed calls. A candidate that can no longer win is sampled once."""
        assert self.target is not None
        assert self.meter is not None
        for number in range(1, self.spec.effort.samples + 1):
            self.progress.say("sample", n=number, of=self.spec.effort.samples)
            with give_up_after(*self._patience()):
                seconds, result = clock.timed(partial(_picture, call, number), synchronize)
            seconds /= self.target.multiple  # for the workload's batch, whatever one call makes
            self.samples_s.append(seconds)
            self._differs(result)
            limit = self.spec.give_up_above_s
            if limit is not None and seconds + self.left_out_s > limit:
                break
        self.meter.mark("whole call")

    def _check(self, result: Any) -> None:
        picture = output.picture_of(result)
        work = self.spec.workload
        self.problem = output.problem_of(picture, result, (work.height, work.width))
        if self.problem is None:
            output.save_picture(picture, self.folder / PICTURE)
        self.reference = picture
        self.health = Health(
            finite=self.problem is None or "NaN" not in self.problem,
            deviation=_finite(float(picture.float().std())),
            differs_by_seed=None,
            picture=PICTURE if self.problem is None else None,
        )

    def _differs(self, picture: Any) -> None:
        """Another seed must give another picture; the same one would mean a cached result."""
        if self.health is None or self.health.differs_by_seed is not None:
            return
        same = picture.shape == self.reference.shape and bool((picture == self.reference).all())
        self.health = self.health.but(differs_by_seed=not same)
        if same and self.problem is None:
            self.problem = "two seeds gave the same picture"

    def judge(self) -> tuple[Status, str]:
        """Whether what was measured may stand."""
        assert self.target is not None
        assert self.meter is not None
        if self.too_large:
            return Status.OVER_BUDGET, self._over_budget()
        if self.problem is not None:
            return Status.BAD_OUTPUT, self.problem
        for lever, evidence in generate.engagement(self.target, self.spec.choices).items():
            if not evidence.engaged:
                choice = self.spec.choices[lever]
                return Status.NOT_APPLIED, f"{lever}={choice}: {evidence.detail}"
        if self._is_over_budget():
            return Status.OVER_BUDGET, self._over_budget()
        memory, ram = self.meter.report(), self.spec.ram_bytes
        # Pinned pages may or may not count as resident: their sum could count them twice.
        host = max(memory.host_bytes or 0, memory.pinned_bytes or 0)
        if ram is not None and host > ram:
            return Status.OUT_OF_RAM, f"host memory peak {host} bytes, --ram {ram} bytes"
        return Status.MEASURED, ""

    def _is_over_budget(self) -> bool:
        budget = self.spec.budget_bytes
        return self.meter is not None and budget is not None and self._peak_bytes() > budget

    def _over_budget(self) -> str:
        return f"peak {self._peak_bytes()} bytes, budget {self.spec.budget_bytes} bytes"

    def _peak_bytes(self) -> int:
        return self.meter.report().peak_bytes if self.meter else 0

    def outcome(self, status: Status, stage: str, message: str, seconds: float) -> Outcome:
        """Everything known at this point."""
        built = self.target is not None and self.target.pipe is not None
        engaged = {}
        if built and self.target is not None:
            with contextlib.suppress(Exception):  # evidence of a broken build may be unreadable
                engaged = generate.engagement(self.target, self.spec.choices)
        return Outcome(
            trial=self.spec.trial,
            status=status,
            stage=stage,
            message=message,
            load_s=self.load_s,
            first_s=self.warmups_s[0] if self.warmups_s else None,
            warmups_s=tuple(self.warmups_s),
            samples_s=tuple(self.samples_s),
            left_out_s=self.left_out_s,
            forwards_s=tuple(self.observation.forwards_s),
            phases_s=self.observation.phases_s,
            memory=self.meter.report() if self.meter else None,
            weights=_weights(self.target) if built else {},
            health=self.health,
            engaged=engaged,
            seconds=seconds,
        )


def _picture(call: Callable[[int], Any], number: int) -> Any:
    """One generation with its picture on the host, which is where users want it (M3)."""
    return output.picture_of(call(number))


def _weights(target: Target | None) -> dict[str, int]:
    """Bytes of the parameters and buffers of each component, as they lie in memory."""
    assert target is not None
    found = {}
    for part in target.model.components:
        module: Any = getattr(target.pipe, part.name, None)
        if hasattr(module, "named_parameters"):
            found[part.name] = stored_bytes(module)
    return found


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else ""
    kind = "" if isinstance(error, GaveUp) else f"{type(error).__name__}: "
    return f"{kind}{text}"[:500]


def _finite(value: float) -> float:
    """JSON has no NaN: a broken picture's deviation is written as -1."""
    return value if value == value and abs(value) != float("inf") else -1.0
