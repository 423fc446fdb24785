"""Drive an engine in a test, and look for what it leaves behind."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from autotune.engine.base import Engine, Step
from autotune.engine.local import LocalEngine
from autotune.records import Device, Outcome, TrialSpec
from tests.stubs.chaos.chaos_lever import HANGING
from tests.trial.bench import CPU, python_path

#: Trials and all they start carry this variable, by which they are found again.
MARK = "AUTOTUNE_TEST_MARK"


@contextmanager
def local_engine(
    folder: Path, mark: str, *, cold: bool, path: Sequence[Path] = (), device: Device | None = None
) -> Iterator[LocalEngine]:
    """A local engine on a device of its own, with the chaos lever and a secret around."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([*map(str, path), python_path()]))
        patch.setenv(MARK, mark)
        patch.setenv("HF_TOKEN", "canary")
        engine = LocalEngine(
            device=device or CPU.but(uuid=mark),
            pipeline="StableDiffusionPipeline",
            folder=folder,
            cold=cold,
        )
    try:
        yield engine
    finally:
        engine.close()


def follow(engine: Engine, trial: str, within_s: float = 60.0) -> tuple[list[Step], Outcome]:
    """Poll until the trial's outcome is there."""
    steps: list[Step] = []
    give_up_at = time.monotonic() + within_s
    while time.monotonic() < give_up_at:
        for event in engine.poll(0.2):
            if isinstance(event, Outcome):
                assert event.trial == trial
                return steps, event
            steps.append(event)
    raise AssertionError(f"no outcome of {trial} within {within_s} s")


def run(engine: Engine, spec: TrialSpec, folder: Path) -> tuple[list[Step], Outcome]:
    """Submit a trial and follow it to its outcome."""
    assert engine.submit(spec, folder) == spec.trial
    return follow(engine, spec.trial, spec.deadline_s + 30)


def start_hanging(engine: Engine, spec: TrialSpec, folder: Path) -> None:
    """Submit a trial that hangs, and come back when it does."""
    engine.submit(spec, folder)
    wait_until((folder / HANGING).exists, 40)


def wait_until(true: Callable[[], object], within_s: float) -> None:
    """Wait for something to become true."""
    give_up_at = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < give_up_at, f"not so after {within_s} s"
        time.sleep(0.05)


def marked(mark: str) -> list[psutil.Process]:
    """Every living process that carries the mark."""
    found = []
    for process in psutil.process_iter():
        try:
            alive = process.status() != psutil.STATUS_ZOMBIE
            if alive and process.environ().get(MARK) == mark:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def zygote_of(mark: str) -> psutil.Process:
    """The zygote that carries the mark: the one process there that leads all others."""
    found = marked(mark)
    pids = {process.pid for process in found}
    (top,) = [process for process in found if process.ppid() not in pids]
    return top


def trial_processes(mark: str) -> list[psutil.Process]:
    """What carries the mark besides the zygote: the trial and what it started."""
    zygote = zygote_of(mark)
    return [process for process in marked(mark) if process.pid != zygote.pid]
