"""A study that waits for its device: signals, a second coordinator, a terminal that goes.

The test holds the device, so that nothing of torch is needed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autotune.engine.device_lock import DeviceLock
from autotune.probe import probe_machine
from autotune.probe.device import select_device
from tests.cli.command import command, environment, run
from tests.engine.driving import MARK, marked
from tests.stubs.chaos.chaos_lever import HANGING
from tests.trial.bench import CHAOS

STUDY = ("suggest", "--model", "demo", "--device", "cpu", "--vram", "1GB")
#: Makes the terminal on standard input its own, and becomes the command.
OWN_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
Waiting = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[Waiting]:
    """Starts studies that wait for the device; they are gone afterwards."""
    # Under nohup the end of the terminal is ignored, and all that is started would ignore it too.
    usual = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    lock = DeviceLock(select_device(probe_machine(), "cpu"), wait=True)
    started: list[subprocess.Popen[bytes]] = []

    def start(*before: str, **more: Any) -> subprocess.Popen[bytes]:
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        study = subprocess.Popen(
            [*before, *command(*STUDY)], cwd=tmp_path, env=environment(), **(streams | more)
        )
        started.append(study)
        for line in study.stderr or ():
            if b"waiting until it is free" in line:
                break
        return study

    yield start
    for study in started:
        study.kill()
        study.communicate(timeout=10)
    lock.release()
    signal.signal(signal.SIGHUP, usual)


@pytest.mark.fault("C2")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_has_its_own_exit_status(
    waiting: Waiting, number: signal.Signals, code: int
) -> None:
    study = waiting()
    study.send_signal(number)
    _, err = study.communicate(timeout=20)
    assert study.returncode == code
    assert b"Traceback" not in err


@pytest.mark.fault("C16")
def test_the_end_of_its_terminal_ends_a_study_as_a_signal_does(
    waiting: Waiting, tmp_path: Path
) -> None:
    ours, theirs = os.openpty()
    study = waiting(
        *(sys.executable, "-c", OWN_TERMINAL),
        **dict.fromkeys(("stdin", "stdout", "stderr"), theirs),
        start_new_session=True,
    )
    os.close(theirs)
    seen = b""
    while b"waiting until it is free" not in seen:
        seen += os.read(ours, 1000)
    os.close(ours)
    assert study.wait(20) == 129


@pytest.mark.fault("C16")
def test_under_nohup_the_end_of_the_terminal_ends_nothing(waiting: Waiting) -> None:
    study = waiting("sh", "-c", 'trap "" HUP; exec "$@"', "sh")
    study.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        study.wait(1)
    study.terminate()
    assert study.wait(20) == 143


@pytest.mark.fault("C4", "G6")
def test_a_second_coordinator_of_the_same_study_ends_and_names_the_first(
    waiting: Waiting, tmp_path: Path
) -> None:
    study = waiting()
    second = run(*STUDY, folder=tmp_path)
    assert second.code == 3
    assert f"error: another autotune (process {study.pid}, since " in second.err
    assert "hint: wait until it has ended, or begin another study" in second.err
    assert len(list((tmp_path / "autotune-runs").iterdir())) == 1
    third = run(*STUDY, "--restart", "--no-wait", folder=tmp_path)
    assert third.code == 3
    assert f"in use by another autotune (process {os.getpid()}, since " in third.err


@pytest.mark.fault("C16")
def test_an_error_that_nobody_reads_has_its_exit_status_all_the_same(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            command("explain", "missing.json"),
            cwd=tmp_path,
            env=environment(),
            stderr=writing,
            check=False,
        )
    finally:
        os.close(writing)
    assert done.returncode == 2


@pytest.mark.trials
@pytest.mark.fault("C2")
def test_the_second_interrupt_does_not_wait_for_a_trial_that_does_not_obey(
    tmp_path: Path,
) -> None:
    mark = str(tmp_path)
    with (tmp_path / "stderr").open("wb") as err:
        study = subprocess.Popen(
            command(*STUDY, "--set", "chaos=stubborn-hang", "--quiet"),
            cwd=tmp_path,
            env=environment(PYTHONPATH=str(CHAOS), **{MARK: mark}),
            stderr=err,
        )
    try:
        until = time.monotonic() + 60
        while not list(tmp_path.glob(f"autotune-runs/*/trials/0001/{HANGING}")):
            assert study.poll() is None, (tmp_path / "stderr").read_text()
            assert time.monotonic() < until
            time.sleep(0.05)
        study.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            study.wait(1)  # the trial has five seconds to clean up
        study.send_signal(signal.SIGINT)
        assert study.wait(3) == 130
        assert marked(mark) == []
        assert "Traceback" not in (tmp_path / "stderr").read_text()
    finally:
        for process in marked(mark):
            process.kill()
        study.wait(10)
