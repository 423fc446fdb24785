"""Run one candidate in this process and write its outcome."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from autotune import levers
from autotune.levers.base import Target
from autotune.levers.mechanisms.torch_names import is_accelerator
from autotune.quality import least_alike
from autotune.records import Discarded, Health, Likeness, Outcome, TrialSpec
from autotune.status import Status
from autotune.trial import clock, compiled, generate, likeness, output, prepared, quiet
from autotune.trial.guard import (
    GaveUp,
    classify,
    enforce_budget,
    free_compiler,
    give_up_after,
    lift_budget,
    most_bytes,
)
from autotune.trial.memory import Meter, make_meter
from autotune.trial.patience import end_if_hopeless, left_out_s, made, patience
from autotune.trial.pictures import Pixels, Shot, read_shots, shots_of, write_shots
from autotune.trial.weights import stored_bytes
from autotune.trial.wire import (
    DEEPEST,
    OUTCOME,
    PICTURE,
    SPEC,
    Progress,
    read_record,
    write_record,
)
from autotune.units import format_bytes

#: How often samples are made again that were disturbed (M10), after waiting so long for quiet.
_MOST_RETAKEN, _SETTLE_S = 3, 5.0
#: More samples of one process tell nothing new: what differs is the process.
_MOST_SAMPLES = 100


def run_folder(folder: Path) -> Outcome:
    """Read the spec in the folder, run it, and write the outcome beside it."""
    spec = read_record(folder, SPEC, TrialSpec)
    trial, outcome = _run(spec, folder)
    write_record(folder, OUTCOME, outcome)
    if spec.prepared and outcome.samples_s and levers.start_up_s(spec.choices):
        compiled.note_compiled(Path(spec.prepared))
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
        lift_budget(spec.device)
        traceback.print_exc(limit=DEEPEST)
        status = classify(
            error,
            budget_bytes=spec.budget_bytes,
            stage=progress.stage,
            device=spec.device.kind,
        )
        message = _first_line(error)
        if status is Status.TOO_SLOW and (why := trial.disturbance()) is not None:
            status, message = Status.INTERFERED, f"{message}, and {why}"
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
    discarded: list[Discarded] = field(default_factory=list)
    disturbed: str | None = None
    shots: dict[Shot, Pixels] = field(default_factory=dict)
    likeness: Likeness | None = None
    #: When the call began that is being made, or was made last.
    began: quiet.Moment | None = None

    def run(self) -> None:
        """Load, warm up, observe, sample."""
        import diffusers
        import torch
        import transformers  # noqa: F401

        spec = self.spec
        if spec.prepared and levers.start_up_s(spec.choices):
            compiled.check_compiled(Path(spec.prepared))
        # A cold process imports here, where neither time nor memory is counted; a fork has it.
        getattr(diffusers, spec.model.pipeline, None)
        if spec.threads:
            torch.set_num_threads(spec.threads)
        synchronize = clock.synchronizer(spec.device)
        self.meter = make_meter(spec.device)
        if (most := most_bytes(spec.device, spec.budget_bytes)) is not None:
            if spec.prepared and not is_accelerator(spec.device):
                free_compiler(Path(spec.prepared))
            outside = self.meter.outside_bytes()
            enforce_budget(spec.device, most, torch.get_num_threads(), outside)
        self.progress.say("load")
        workload = made(spec)
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
        self.left_out_s = left_out_s(spec, self.observation.forwards_s, self._multiple)
        self._sample(call, synchronize)
        self._count(call, clock.hidden(target, watched))
        self._compare()

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
            # Pictures that no sample makes: the more there are to compare.
            which = 0 if last else self.spec.effort.samples + count - 1 - number
            watch: Any = contextlib.nullcontext(self.observation)
            if last:
                watch = clock.observing(
                    self.target,
                    self.meter,
                    synchronize,
                    self.progress.say,
                    watched,
                    lambda forwards_s: end_if_hopeless(self.spec, forwards_s, self._multiple),
                )
            with self._limited(start_up_s), watch as self.observation:
                seconds, result = clock.timed(partial(call, which), synchronize)
            self.warmups_s.append(seconds)
            self._keep(which, output.picture_of(result))
            if not last:
                self.meter.mark("first call")
        if self.spec.effort.steps is not None:
            # What is reckoned from its steps would be spoilt with them.
            self.disturbed = self.disturbance()
        self.target.seen = self.observation.seen
        self._check(result)

    def _count(self, call: Any, hidden: Mapping[str, Any]) -> None:
        """See what compiled code hides, in one more call: after all that is timed and measured."""
        assert self.target is not None
        if not hidden:
            return
        lift_budget(self.spec.device)
        self.progress.say("count")
        with self._limited(), clock.uncompiled(hidden) as seen:
            call(0)
        self.target.seen = {**self.target.seen, **seen}

    def _patience(self, start_up_s: float = 0.0) -> tuple[float, str | None]:
        spent_s = time.perf_counter() - self.start
        return patience(self.spec, spent_s, self._multiple, start_up_s)

    @property
    def _multiple(self) -> int:
        return self.target.multiple if self.target else 1

    @contextlib.contextmanager
    def _limited(self, start_up_s: float = 0.0) -> Iterator[None]:
        """Around one call: it ends when it takes too long, and what disturbs it is seen."""
        self.began = quiet.now()
        with give_up_after(*self._patience(start_up_s)):
            yield

    def disturbance(self) -> str | None:
        """What disturbed the call that ended last, or is being made."""
        return quiet.disturbance(self.began, quiet.now())

    def _sample(self, call: Any, synchronize: Any) -> None:
        """Timed calls. A candidate that can no longer win is sampled once."""
        assert self.meter is not None
        number, of = 1, self.spec.effort.samples
        while number <= of or self._too_short():
            self.progress.say("sample", n=number, of=max(number, of))
            with self._limited():
                seconds, result = clock.timed(partial(_picture, call, number), synchronize)
            why = self.disturbance()
            seconds /= self._multiple  # for the workload's batch, whatever one call makes
            if why is not None and self._may_retake(seconds):
                self.discarded.append(Discarded(seconds=seconds, why=why))
                quiet.settle(_SETTLE_S)
                continue
            self.disturbed = self.disturbed or why
            self.samples_s.append(seconds)
            self._differs(result)
            self._keep(number, result)
            limit = self.spec.give_up_above_s
            if limit is not None and seconds + self.left_out_s > limit:
                break
            number += 1
        self.meter.mark("whole call")

    def _too_short(self) -> bool:
        """Whether the samples took less time than they should, and are not very many (M6)."""
        least_s = self.spec.effort.least_s or 0.0
        calls_s = sum(self.samples_s) * self._multiple
        return calls_s < least_s and len(self.samples_s) < _MOST_SAMPLES

    def _may_retake(self, seconds: float) -> bool:
        """Whether a sample may be made again: not for ever (M10), nor up to the deadline."""
        left_s, _ = self._patience()
        calls_s = seconds * self._multiple * (self.spec.effort.samples + 1)
        return len(self.discarded) < _MOST_RETAKEN and left_s > calls_s + _SETTLE_S

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

    def _keep(self, number: int, picture: Any) -> None:
        """Keep a picture to compare: few, and small beside what it takes to make one."""
        if self.spec.reference is not None:
            self.shots |= shots_of(number, picture)

    def _compare(self) -> None:
        """Compare with the baseline's pictures, or keep them: after all that is measured."""
        if self.spec.reference is None or self.problem is not None:
            return
        lift_budget(self.spec.device)
        self.progress.say("compare")
        if self.spec.purpose == "baseline":
            write_shots(Path(self.spec.reference), self.shots)
            return
        self.likeness = likeness.compare(read_shots(Path(self.spec.reference)), self.shots)
        if self.spec.purpose == "confirm" and self.likeness is not None:
            shown = (Shot(one.picture, one.frame) for one in least_alike(self.likeness))
            write_shots(self.folder, {shot: self.shots[shot] for shot in shown})

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
        assert self.meter is not None
        memory, budget = self.meter.report(), self.spec.budget_bytes or 0
        phase = max(memory.phases, key=memory.phases.__getitem__)
        excess = format_bytes(memory.peak_bytes - budget)
        return f"took {format_bytes(memory.peak_bytes)} during {phase}, {excess} more than allowed"

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
            discarded=tuple(self.discarded),
            disturbed=self.disturbed,
            forwards_s=tuple(self.observation.forwards_s),
            phases_s=self.observation.phases_s,
            memory=self.meter.report() if self.meter else None,
            weights=_weights(self.target) if built else {},
            health=self.health,
            likeness=self.likeness,
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
    text = " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1])  # dynamo's has two
    kind = "" if isinstance(error, GaveUp) else f"{type(error).__name__}: "
    return f"{kind}{text}"[:500]


def _finite(value: float) -> float:
    """JSON has no NaN: a broken picture's deviation is written as -1."""
    return value if value == value and abs(value) != float("inf") else -1.0
