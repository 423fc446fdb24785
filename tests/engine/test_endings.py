"""Whoever goes first, coordinator, zygote or engine, no process stays and the device is free."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from autotune.engine.device_lock import DeviceLock
from autotune.errors import CannotRun
from tests.engine.driving import (
    MARK,
    local_engine,
    marked,
    run,
    start_hanging,
    trial_processes,
    wait_until,
    zygote_of,
)
from tests.stubs.chaos.chaos_lever import HANGING
from tests.trial.bench import CPU, ROOT, python_path, tiny_model, trial_spec

pytestmark = pytest.mark.trials

STUBBORN = {"chaos": "stubborn-hang"}


def assert_device_is_free(mark: str) -> None:
    DeviceLock(CPU.but(uuid=mark), wait=False).release()


def test_closing_an_engine_ends_what_still_runs(tmp_path: Path) -> None:
    with local_engine(tmp_path, "closed", cold=True) as engine:
        start_hanging(engine, trial_spec(choices=STUBBORN), tmp_path / "trial")
        assert len(trial_processes("closed")) == 2
        start = time.monotonic()
        engine.close()
        assert time.monotonic() - start < 3
        assert marked("closed") == []
        assert_device_is_free("closed")


def test_a_terminated_zygote_takes_its_trials_along(tmp_path: Path) -> None:
    with local_engine(tmp_path, "termed", cold=True) as engine:
        start_hanging(engine, trial_spec(choices=STUBBORN), tmp_path / "trial")
        zygote_of("termed").send_signal(signal.SIGTERM)
        with pytest.raises(CannotRun, match="the process that runs trials ended"):
            engine.poll(10)
        wait_until(lambda: not marked("termed"), 3)


@pytest.mark.parametrize("cold", [False, True], ids=["forked", "cold"])
def test_a_killed_zygote_is_an_environment_that_cannot_be_used(
    tmp_path: Path, cold: bool
) -> None:
    mark = f"killed-{cold}"
    with local_engine(tmp_path, mark, cold=cold) as engine:
        start_hanging(engine, trial_spec(choices={"chaos": "hang"}), tmp_path / "trial")
        zygote_of(mark).kill()
        with pytest.raises(CannotRun, match="the process that runs trials ended"):
            engine.poll(10)
        wait_until(lambda: not marked(mark), 3)
        with pytest.raises(CannotRun):
            engine.submit(trial_spec("u"), tmp_path / "next")
    assert_device_is_free(mark)


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
        with pytest.raises(CannotRun, match=rf"in use .*\(process {coordinator.pid}\)"):
            DeviceLock(CPU.but(uuid=mark), wait=False)
        zygote.send_signal(signal.SIGCONT)
        wait_until(lambda: not marked(mark), 5)
        assert_device_is_free(mark)
    finally:
        coordinator.kill()
        for process in marked(mark):
            process.kill()


def test_an_environment_that_cannot_import_torch_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libcudart.so.99: no such file')")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
        patch.setattr("tests.engine.driving.python_path", lambda: os.environ["PYTHONPATH"])
        with (
            pytest.raises(CannotRun, match=r"ImportError: libcudart\.so\.99"),
            local_engine(tmp_path, "no-torch", cold=False),
        ):
            pass
    assert marked("no-torch") == []
    assert_device_is_free("no-torch")


def test_what_libraries_print_is_no_event(tmp_path: Path) -> None:
    noise = "import sys; sys.stdout.write('{\"event\": \"ready\", noise'); sys.stdout.flush()"
    (tmp_path / "sitecustomize.py").write_text(noise)
    with pytest.MonkeyPatch.context() as patch:
        paths = os.pathsep.join([str(tmp_path), python_path()])
        patch.setattr("tests.engine.driving.python_path", lambda: paths)
        with local_engine(tmp_path, "noisy", cold=True) as engine:
            _, outcome = run(engine, trial_spec(), tmp_path / "trial")
    assert outcome.status == "measured"
    assert "noise" in (tmp_path / "zygote.txt").read_text()
    assert "noise" in (tmp_path / "trial" / "log.txt").read_text()


def test_no_process_of_these_tests_is_left() -> None:
    names = [
        process.info["cmdline"]
        for process in psutil.process_iter(["cmdline"])
        if process.pid != os.getpid() and "tests.engine.coordinator" in (process.info["cmdline"] or ())
    ]
    assert names == []
