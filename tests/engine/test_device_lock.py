"""One autotune at a time on a device, and whoever comes second is told who was first."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from autotune.engine.device_lock import DeviceLock
from autotune.errors import CannotRun
from tests.trial.bench import CPU

DEVICE = CPU.but(uuid="GPU-1/../2 \u00e4")


@pytest.mark.fault("G6")
def test_the_second_is_refused_and_told_who_holds_the_device() -> None:
    first = DeviceLock(DEVICE, wait=False)
    with pytest.raises(CannotRun) as raised:
        DeviceLock(DEVICE, wait=False)
    said = rf"a CPU is in use by another autotune \(process {os.getpid()}, since [0-9: -]+\)"
    assert re.fullmatch(said, raised.value.message)
    assert "--no-wait" in str(raised.value.hint)
    first.release()
    DeviceLock(DEVICE, wait=False).release()


def test_another_device_is_free() -> None:
    first = DeviceLock(DEVICE, wait=False)
    DeviceLock(DEVICE.but(uuid="GPU-3"), wait=False).release()
    first.release()


@pytest.mark.fault("G6")
def test_who_waits_says_so_once_and_gets_the_device() -> None:
    first = DeviceLock(DEVICE, wait=False)
    said: list[str] = []
    timer = threading.Timer(1.2, first.release)
    timer.start()
    start = time.monotonic()
    second = DeviceLock(DEVICE, wait=True, waiting=said.append)
    assert time.monotonic() - start > 1
    (sentence,) = said
    assert sentence.startswith(f"a CPU is in use by another autotune (process {os.getpid()}, ")
    assert sentence.endswith("); waiting until it is free")
    second.release()
    timer.join()


@pytest.mark.fault("G6")
def test_a_child_that_inherited_it_keeps_the_device_until_it_ends() -> None:
    lock = DeviceLock(DEVICE, wait=False)
    child = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock.descriptor,)
    )
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    lock.release()
    with pytest.raises(CannotRun):
        DeviceLock(DEVICE, wait=False)
    child.communicate(b"\n")
    # Who was not given it does not hold it.
    DeviceLock(DEVICE, wait=False).release()
    stranger.communicate(b"\n")


def test_releasing_twice_releases_nobody_elses_descriptor() -> None:
    lock = DeviceLock(DEVICE, wait=False)
    lock.release()
    other = os.open(os.devnull, os.O_RDONLY)
    lock.release()
    os.fstat(other)
    os.close(other)


@pytest.mark.fault("G6")
@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b'{"pid": ', b"[" * 100_000, b"7"])
def test_a_lock_file_of_garbage_still_locks(content: bytes) -> None:
    lock = DeviceLock(DEVICE, wait=False)
    lock.path.write_bytes(content)
    with pytest.raises(CannotRun, match=r"in use by another autotune$"):
        DeviceLock(DEVICE, wait=False)
    lock.release()


def test_the_lock_is_one_for_all_users_and_stays_in_its_folder() -> None:
    lock = DeviceLock(DEVICE, wait=False)
    assert lock.path.parent == Path(os.environ["AUTOTUNE_LOCKS"])
    assert lock.path.stat().st_mode & 0o777 == 0o666
    assert lock.path.parent.stat().st_mode & 0o7777 == 0o1777
    lock.release()


def test_a_link_in_place_of_the_lock_leads_nowhere(tmp_path: Path) -> None:
    lock = DeviceLock(DEVICE, wait=False)
    lock.release()
    treasure = tmp_path / "treasure"
    treasure.write_text("gold")
    lock.path.unlink()
    lock.path.symlink_to(treasure)
    with pytest.raises(CannotRun, match="cannot be opened"):
        DeviceLock(DEVICE, wait=False)
    assert treasure.read_text() == "gold"
    lock.path.unlink()


def test_a_folder_that_cannot_be_made_is_said_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AUTOTUNE_LOCKS", "/proc/no-such-folder")
    with pytest.raises(
        CannotRun, match="device locks cannot be kept in /proc/no-such-folder"
    ) as raised:
        DeviceLock(DEVICE, wait=False)
    assert "AUTOTUNE_LOCKS" in str(raised.value.hint)
