"""Whoever goes first, coordinator, zygote or engine, no process stays and the device is free."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autotune.engine import local
from autotune.engine.base import Step
from autotune.engine.device_lock import DeviceLock
from autotune.errors import CannotRun
from autotune.records import InspectSpec
from tests.engine.driving import (
    MARK,
    follow,
    local_engine,
    marked,
    start_hanging,
    trial_processes,
    wait_until,
    zygote_of,
)
from tests.stubs.chaos.chaos_lever import HANGING
from tests.trial.bench import CPU, ROOT, python_path, tiny_model, trial_spec

pytestmark = pytest.mark.trials

STUBBORN = {"chaos": "stubborn-hang"}


def is_free(mark: str) -> bool:
    """A process that is being killed closes its files last of all."""
    try:
        DeviceLock(CPU.but(uuid=mark), wait=False).release()
    except CannotRun:
        return False
    return True


@pytest.mark.fault("T9")
def test_closing_an_engine_ends_what_still_runs_and_what_libraries_print_is_no_event(
    tmp_path: Path,
) -> None:
    noise = 'import sys; sys.stdout.write(\'{"event": "ready", noise\'); sys.stdout.flush()'
    (tmp_path / "sitecustomize.py").write_text(noise)
    with local_engine(tmp_path, "noisy", cold=True, path=[tmp_path]) as engine:
        start_hanging(engine, trial_spec(choices=STUBBORN), tmp_path / "trial")
        assert [step.stage for step in engine.poll(0) if isinstance(step, Step)] == ["load"]
        assert len(trial_processes("noisy")) == 2
        start = time.monotonic()
        engine.close()
        assert time.monotonic() - start < 3
        assert marked("noisy") == []
        assert is_free("noisy")
    assert "noise" in (tmp_path / "zygote.txt").read_text()
    assert "noise" in (tmp_path / "trial" / "log.txt").read_text()


@pytest.mark.fault("C3")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_cold_trial_goes_with_its_zygote(tmp_path: Path, number: signal.Signals) -> None:
    mark = f"cold-{number.name}"
    with local_engine(tmp_path, mark, cold=True) as engine:
        engine.submit(trial_spec(choices={"chaos": "hang"}), tmp_path / "trial")
        wait_until(lambda: len(marked(mark)) == 2, 10)
        (process,) = trial_processes(mark)
        # By then it is past its first lines and imports torch.
        wait_until(lambda: process.memory_info().rss > 40 << 20, 20)
        zygote_of(mark).send_signal(number)
        with pytest.raises(CannotRun, match="the process that runs trials ended"):
            follow(engine, "t")
        wait_until(lambda: not marked(mark), 3)


def test_a_killed_zygote_is_an_environment_that_cannot_be_used(tmp_path: Path) -> None:
    with local_engine(tmp_path, "bereft", cold=False) as engine:
        start_hanging(engine, trial_spec(choices={"chaos": "hang"}), tmp_path / "trial")
        zygote_of("bereft").kill()
        with pytest.raises(CannotRun, match="the process that runs trials ended"):
            follow(engine, "t")
        wait_until(lambda: not marked("bereft"), 3)
        with pytest.raises(CannotRun):
            engine.submit(trial_spec("u"), tmp_path / "next")
    wait_until(lambda: is_free("bereft"), 3)


@pytest.mark.fault("C3", "G6")
def test_a_killed_coordinator_leaves_no_process_and_a_free_device(tmp_path: Path) -> None:
    tiny_model("sd15")  # built here, found in the cache there
    mark = "orphaned"
    coordinator = subprocess.Popen(
        [sys.executable, "-m", "tests.engine.coordinator", tmp_path, STUBBORN["chaos"], mark],
        cwd=ROOT,
        env=os.environ | {MARK: mark, "PYTHONPATH": python_path()},
    )
    try:
        wait_until((tmp_path / "trial" / HANGING).exists, 60)
        zygote = next(
            process for process in marked(mark) if "autotune.trial.zygote" in process.cmdline()
        )
        # Stopped, it notices nothing: the orphans live on, and the device is still theirs.
        zygote.send_signal(signal.SIGSTOP)
        coordinator.kill()
        coordinator.wait(10)
        assert len(marked(mark)) == 3
        with pytest.raises(CannotRun, match=f"what process {coordinator.pid} left running"):
            DeviceLock(CPU.but(uuid=mark), wait=False)
        zygote.send_signal(signal.SIGCONT)
        wait_until(lambda: not marked(mark), 5)
        wait_until(lambda: is_free(mark), 3)
    finally:
        coordinator.kill()
        for process in marked(mark):
            process.kill()


def test_an_environment_that_cannot_import_torch_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libcudart.so.99: no such file')")
    with (
        pytest.raises(CannotRun, match=r"ImportError: libcudart\.so\.99"),
        local_engine(tmp_path, "no-torch", cold=False, path=[tmp_path]),
    ):
        pass
    assert marked("no-torch") == []
    assert is_free("no-torch")


def test_a_look_at_a_model_that_does_not_end_is_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_INSPECT_DEADLINE_S", 0.1)
    with pytest.raises(CannotRun, match="looking at sd15 took more than 0 s"):
        local.inspect_alone(InspectSpec(model=tiny_model("sd15"), device=CPU), tmp_path)


#: No signal has any effect: as for a process that sleeps in its driver.
POWERLESS = """
import os, sys
if "autotune.trial.zygote" in sys.orig_argv:
    os.kill = os.killpg = lambda *_: None
"""


@pytest.mark.fault("T11")
def test_a_process_that_nothing_ends_stops_the_study_by_name_and_keeps_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(POWERLESS)
    monkeypatch.setattr(local, "_UNKILLABLE_S", 0.5)
    with local_engine(tmp_path, "powerless", cold=True, path=[tmp_path]) as engine:
        engine.submit(trial_spec(choices=STUBBORN), tmp_path / "trial")
        wait_until(lambda: len(marked("powerless")) == 2, 10)
        (process,) = trial_processes("powerless")
        engine.cancel("t")
        with pytest.raises(CannotRun, match=rf"process {process.pid} of trial t does not end"):
            follow(engine, "t")
        assert process.is_running()
        assert not is_free("powerless")
        engine._lock.release()
        assert not is_free("powerless"), "the process itself has it"
    wait_until(lambda: not marked("powerless"), 5)
    wait_until(lambda: is_free("powerless"), 3)
