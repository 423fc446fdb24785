"""The local engine: one trial at a time on one device, each in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotune.engine.base import Step
from autotune.engine.child import Zygote, child_environment
from autotune.engine.device_lock import DeviceLock
from autotune.engine.filming import Filming
from autotune.engine.log import cut_log, relieve_disk
from autotune.errors import CannotRun
from autotune.files import PRIVATE_UMASK, make_private
from autotune.records import Device, Inspection, InspectSpec, Outcome, TrialSpec
from autotune.status import Status
from autotune.trial.wire import (
    INSPECTION,
    LOG,
    NO_SPACE,
    OUTCOME,
    PROGRESS,
    SPEC,
    UNJUDGED,
    read_outcome,
    read_record,
    write_record,
)

_INSPECT_DEADLINE_S = 300.0
#: What importing torch and diffusers may take on a slow disk.
COLD_START_S = 60.0
#: More progress than any trial writes between two looks.
_READ_BYTES = 1 << 20
#: A stopped trial has five seconds to clean up before it is killed; half a minute after that no
#: signal will end it (fault matrix T11).
_UNKILLABLE_S = 35.0
#: Words in a log that name the cause when a native library aborts under a memory limit.
_NO_MEMORY_WORDS = ("memory allocation of", "bad_alloc", "annot allocate memory")

#: How Python and its fault handler begin the line that names an error.
_ERROR = re.compile(r"Fatal Python error:|[\w.]*(Error|Exception|Exit|Interrupt)\b")


@dataclass(kw_only=True)
class _Running:
    spec: TrialSpec
    folder: Path
    deadline: float
    oom_kills: int
    start_s: float = 0.0
    heard_s: float = 0.0
    stages: list[tuple[str, float]] = field(default_factory=list)
    read: int = 0
    ended_by: Status | None = None
    why: str = ""
    ended_s: float = 0.0
    pid: int | None = None


class LocalEngine:
    """Trials as children of a zygote on this machine.

    Args:
        device: The device, which is held until ``close``.
        pipeline: The pipeline class to import before the first fork.
        folder: Where the zygote's own log goes.
        cold: Fresh interpreters instead of forks.
        wait: Wait for the device if another autotune holds it.
        say: Receives sentences for the user.
    """

    def __init__(
        self,
        *,
        device: Device,
        pipeline: str,
        folder: Path,
        cold: bool = False,
        wait: bool = True,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._lock = DeviceLock(device, wait=wait, waiting=say)
        #: Whether another autotune had the device first: what was free then is not what is now.
        self.waited = self._lock.waited
        self._running: dict[str, _Running] = {}
        self._filming: Filming | None = None

        def start(cold: bool) -> Zygote:
            return Zygote(
                pipeline=pipeline,
                device=device,
                log=folder / "zygote.txt",
                inherit=(self._lock.descriptor,),
                cold=cold,
            )

        try:
            if device.kind == "cuda":
                self._filming = Filming(device, folder, say)
            self._zygote = start(cold)
            if self._zygote.ready.get("driver_touched"):
                # A forked child could not use the card: pay for cold processes instead.
                say("forked trials cannot use the GPU here: every trial starts cold")
                self._zygote.close()
                cold = True
                self._zygote = start(True)
            #: A cold child imports for this long before its own clock starts.
            self._allowance_s = COLD_START_S if cold else 0.0
        except BaseException:
            if self._filming is not None:
                self._filming.close()
            self._lock.release()
            raise

    def inspect(self, spec: InspectSpec, folder: Path) -> Inspection:
        """See Engine."""
        make_private(folder, exist_ok=True)
        write_record(folder, SPEC, spec)
        self._zygote.send(do="start", id="inspect", folder=str(folder), job="inspect")
        deadline = time.monotonic() + _INSPECT_DEADLINE_S
        while time.monotonic() < deadline:
            for event in self._zygote.events(1.0):
                if event["event"] == "ended" and event["id"] == "inspect":
                    return _read_inspection(folder)
        self._zygote.send(do="stop", id="inspect")
        raise _took_too_long(spec)

    def submit(self, spec: TrialSpec, folder: Path) -> str:
        """See Engine."""
        make_private(folder)
        write_record(folder, SPEC, spec)
        start_s = time.monotonic()
        if self._filming is not None:
            (folder / UNJUDGED).touch()
            start_s = self._filming.begin()
        self._running[spec.trial] = _Running(
            spec=spec,
            folder=folder,
            deadline=start_s + spec.deadline_s + self._allowance_s,
            oom_kills=_oom_kills(),
            start_s=start_s,
            heard_s=start_s + self._allowance_s,
        )
        self._zygote.send(do="start", id=spec.trial, folder=str(folder), job="trial")
        return spec.trial

    def poll(self, timeout_s: float) -> Sequence[Step | Outcome]:
        """See Engine."""
        found: list[Step | Outcome] = []
        for event in self._zygote.events(timeout_s):
            running = self._running.get(event.get("id", ""))
            if event["event"] == "started" and running is not None:
                running.pid = int(event["pid"])
            elif event["event"] == "ended" and running is not None:
                found.extend(_steps(running))
                found.append(self._finish(running, int(event["code"])))
        lost = self._filming.look() if self._filming else None
        for running in self._running.values():
            found.extend(_steps(running))
            relieve_disk(running.folder / LOG)
            if running.ended_by is not None:
                _refuse_unkillable(running)
            elif lost is not None:
                self._stop(running, Status.DEVICE_LOST)
            elif stuck := _stuck(running):
                self._stop(running, Status.HUNG, stuck)
        return found

    def cancel(self, trial: str) -> bool:
        """See Engine."""
        running = self._running.get(trial)
        if running is not None:
            self._stop(running, Status.CANCELLED)
        return running is not None

    def close(self) -> None:
        """See Engine."""
        try:
            self._zygote.close()
            if self._filming is not None:
                self._filming.close()
        finally:
            self._lock.release()

    def _stop(self, running: _Running, status: Status, why: str = "") -> None:
        running.ended_by, running.why = status, why or status.sentence
        running.ended_s = time.monotonic()
        self._zygote.send(do="stop", id=running.spec.trial)

    def _finish(self, running: _Running, code: int) -> Outcome:
        del self._running[running.spec.trial]
        cut_log(running.folder / LOG)
        try:
            outcome = written = read_outcome(running.folder, running.spec.trial)
        except ValueError as error:
            outcome, written = _missing_outcome(running, code, str(error)), None
        if self._filming is not None:
            outcome = self._filming.judged(running.spec, outcome, running.start_s, running.stages)
        if outcome is not written:
            make_private(running.folder, exist_ok=True)  # the trial may have removed it
            write_record(running.folder, OUTCOME, outcome)
        (running.folder / UNJUDGED).unlink(missing_ok=True)
        return outcome


def _stuck(running: _Running) -> str:
    """Why a trial should be ended that still runs; empty if it should not."""
    now, spec = time.monotonic(), running.spec
    if now > running.deadline:
        return f"still running after {spec.deadline_s:.0f} s"
    if spec.silence_s is not None and now > running.heard_s + spec.silence_s:
        return f"no progress for {spec.silence_s:.0f} s"
    return ""


def _refuse_unkillable(running: _Running) -> None:
    """A process in the driver may never end; until it does, the device stays locked by it.

    Raises:
        CannotRun: If the trial was stopped so long ago that nothing will end it.
    """
    if time.monotonic() - running.ended_s > _UNKILLABLE_S:
        raise CannotRun(
            f"process {running.pid} of trial {running.spec.trial} does not end, not even when it "
            "is killed",
            hint="the device's driver may hang: look at the kernel's log, and restart the machine",
        )


def _missing_outcome(running: _Running, code: int, error: str) -> Outcome:
    """Say why a process left no outcome, from how it ended and what it logged."""
    status, message = _how_it_ended(running, code)
    stage = _last_stage(running)
    return Outcome(
        trial=running.spec.trial,
        status=status,
        stage=stage,
        message=message or error,
        seconds=time.monotonic() - running.start_s if status is Status.HUNG else 0.0,
    )


def _how_it_ended(running: _Running, code: int) -> tuple[Status, str]:
    if running.ended_by is not None:
        return running.ended_by, running.why
    if code == NO_SPACE:
        return Status.DISK_FULL, "there was no space to write what was measured"
    log = _tail(running.folder)
    if running.spec.budget_bytes and any(words in log for words in _NO_MEMORY_WORDS):
        return Status.OVER_BUDGET, _last_line(running.folder)
    if code == -signal.SIGKILL and _oom_kills() > running.oom_kills:
        return Status.OUT_OF_RAM, "the kernel ended it because the host ran out of memory"
    if -code in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        return Status.KILLED, f"ended by signal {-code} from outside"
    if code < 0:
        return Status.CRASHED, f"ended by signal {-code}: {_last_line(running.folder)}"
    return (
        Status.PROTOCOL_ERROR,
        f"exit status {code} without an outcome: {_last_line(running.folder)}",
    )


def _oom_kills() -> int:
    """How often the kernel has killed for want of memory, containers included; 0 if unknown."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def inspect_alone(spec: InspectSpec, folder: Path) -> Inspection:
    """Ask the levers in a process of their own, where libraries may print what they like.

    Args:
        spec: The model and the device; the device need not be here.
        folder: Empty; what is found out lies there afterwards.

    Raises:
        CannotRun: If the model cannot be looked at.
    """
    write_record(folder, SPEC, spec)
    with (folder / LOG).open("wb") as log:
        try:
            subprocess.run(
                [sys.executable, "-m", "autotune.trial", str(folder), "inspect"],
                env=child_environment(spec.device, os.environ),
                umask=PRIVATE_UMASK,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=_INSPECT_DEADLINE_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise _took_too_long(spec) from None
    return _read_inspection(folder)


def _took_too_long(spec: InspectSpec) -> CannotRun:
    return CannotRun(
        f"looking at {spec.model.id} took more than {_INSPECT_DEADLINE_S:.0f} s",
        hint="autotune doctor shows which packages do not work",
    )


def _read_inspection(folder: Path) -> Inspection:
    try:
        return read_record(folder, INSPECTION, Inspection)
    except ValueError:
        raise CannotRun(
            f"the model cannot be looked at: {_last_line(folder)}",
            hint="autotune doctor shows which packages do not work",
        ) from None


def _steps(running: _Running) -> list[Step]:
    """Progress lines written since the last look; a half-written last line waits."""
    path = running.folder / PROGRESS
    try:
        with path.open("rb") as file:
            file.seek(running.read)
            data = file.read(_READ_BYTES)
    except OSError:
        return []
    whole, _, _ = data.rpartition(b"\n")
    if not whole:
        return []
    running.read += len(whole) + 1
    running.heard_s = max(running.heard_s, time.monotonic())
    steps = [_step(running.spec.trial, line) for line in whole.splitlines()]
    found = [step for step in steps if step is not None]
    running.stages += [
        (step.stage, at) for step in found if isinstance(at := step.facts.get("at"), float)
    ]
    return found


def _step(trial: str, line: bytes | str) -> Step | None:
    """What a progress line says; nothing depends on it, so a line that makes no sense is none."""
    try:
        facts: dict[str, Any] = json.loads(line)
        return Step(trial=trial, stage=str(facts.pop("stage")), facts=facts)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _last_stage(running: _Running) -> str:
    lines = _tail(running.folder, PROGRESS).splitlines()
    steps = [step for line in lines if (step := _step(running.spec.trial, line)) is not None]
    return steps[-1].stage if steps else "start"


def _tail(folder: Path, name: str = LOG, size: int = 4000) -> str:
    try:
        with (folder / name).open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - size))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _last_line(folder: Path) -> str:
    """The last error named in the log, which its own further lines may follow; else the end."""
    lines = [line.strip() for line in _tail(folder).splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR.match(line)]
    return (errors or lines or ["no message"])[-1][:300]
