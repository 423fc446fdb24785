"""Limits around a trial, and the classification of what goes wrong inside it."""

from __future__ import annotations

import errno
import os
import platform
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autotune.files import is_full, write_atomic
from autotune.levers.mechanisms.compiler import plain_folder
from autotune.levers.mechanisms.torch_names import is_accelerator, torch_module
from autotune.records import Device, DeviceKind
from autotune.status import Status
from autotune.trial.memory import status_bytes

#: Address space that is not memory in use: allocator arenas and loader slack.
_SLACK_BYTES = 64 << 20
#: What libraries take of a card once they compute: kernels, workspaces. 78 to 189 MB were seen on
#: an H200, the most with bitsandbytes, streams and convolutions in tiles.
_LATER_BYTES = 200_000_000
#: The default stack of a thread on Linux; OpenMP starts one a core.
_STACK_BYTES = 8 << 20
#: What ``CXX`` was before it was replaced, for the next trial in this process.
_OWN_COMPILER = "AUTOTUNE_OWN_CXX"
_COMPILER = """#!/bin/sh
ulimit -S -d "$(ulimit -H -d)"
TMPDIR={} exec {} "$@"
"""


class GaveUp(BaseException):
    """A generation took too long to matter. Not an Exception: libraries must not swallow it."""


def enforce_budget(
    device: Device, budget_bytes: int, threads: int, outside_bytes: int = 0
) -> None:
    """Make an overrun of the budget fail inside this process, and only here.

    On the host ``RLIMIT_DATA`` makes torch's allocator raise. It counts reserved, not resident
    memory, hence the slack; what stays below it is judged by the measured peak. On a card torch's
    allocator is capped: at its cap it gives back what it only keeps, and then raises.

    Args:
        device: What is measured on.
        budget_bytes: All that the process may take.
        threads: Of torch.
        outside_bytes: What it has on the card already, beside torch's allocator: the context.
    """
    if not is_accelerator(device):
        limit = status_bytes("VmData") + budget_bytes + _SLACK_BYTES + threads * _STACK_BYTES
        _limit_data(limit)
        return
    module = torch_module(device)
    # torch multiplies the share by the total it sees itself, which is not the card's to the byte.
    _, total = module.mem_get_info()
    allowed = max(0, budget_bytes - outside_bytes - _LATER_BYTES)
    module.set_per_process_memory_fraction(min(1.0, allowed / total))


def most_bytes(device: Device, budget_bytes: int | None) -> int | None:
    """What a process may take of the device: the budget, or what there is where it would not fail.

    On Windows, and so under WSL, the driver moves what a card cannot hold to the host's memory
    and goes on, many times slower; no counter shows it. What is measured so fits nothing.
    """
    windows = sys.platform == "win32" or "microsoft" in platform.release().lower()
    if not windows or not is_accelerator(device):
        return budget_bytes
    return min(device.free_bytes, budget_bytes or device.free_bytes)


def lift_budget(device: Device) -> None:
    """Let this process take memory again: a trial that ran into its budget must still report."""
    if not is_accelerator(device):
        _limit_data(None)


def _limit_data(limit: int | None) -> None:
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = resource.RLIM_INFINITY if limit is None else limit
    if hard != resource.RLIM_INFINITY:
        wanted = hard if limit is None else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def free_compiler(folder: Path) -> None:
    """Let the C++ compiler that inductor starts take the memory it needs, whatever the budget.

    It would inherit the soft limit, which is about what compiling one kernel takes (330 MB were
    seen), and fail or not by the size of the kernel. What inductor starts is named by ``CXX``: a
    few lines in the folder that lift the limit and become the compiler. That name is part of the
    keys of inductor's cache, so it must be the same for all trials of a study.
    """
    own = os.environ.setdefault(_OWN_COMPILER, os.environ.get("CXX") or "g++")
    compiler = shutil.which(own)
    place = plain_folder(folder)
    if compiler is None or place is None:
        return
    script = place / "compiler" / Path(compiler).name
    # A compiler that is killed with its trial leaves its files there, and they go with the study.
    temporary = script.parent / "temporary"
    temporary.mkdir(parents=True, exist_ok=True)
    text = _COMPILER.format(shlex.quote(str(temporary)), shlex.quote(compiler)).encode()
    if not script.is_file() or script.read_bytes() != text:
        write_atomic(script, text, overwrite=True)
        script.chmod(0o700)
    if not os.access(script, os.X_OK):  # on a file system without programs it stays as it was
        return
    os.environ["CXX"] = str(script)
    settings = sys.modules.get("torch._inductor.config")
    if settings is not None:  # it has read CXX already
        settings.cpp.cxx = (None, str(script))


@contextmanager
def give_up_after(seconds: float, why: str | None = None) -> Iterator[None]:
    """Raise GaveUp inside the block once it has taken that long, with the reason if given.

    Signals reach the main thread only; in another one nothing limits the block.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise GaveUp(why or f"a generation took more than {seconds:.3g} s")

    before = signal.signal(signal.SIGALRM, stop)
    # Again every second: a library may swallow the first one (a destructor, a bare except).
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def classify(
    error: BaseException, *, budget_bytes: int | None, stage: str, device: DeviceKind = "cpu"
) -> Status:
    """Say what kind of failure an exception is: by type first, by text last."""
    import torch

    if isinstance(error, GaveUp):
        return Status.TOO_SLOW
    if isinstance(error, KeyboardInterrupt):
        return Status.CANCELLED
    text = str(error).lower() if isinstance(error, (RuntimeError, OSError, SystemError)) else ""
    if isinstance(error, torch.OutOfMemoryError) or _says(text, _NO_VRAM):
        return Status.OVER_BUDGET if budget_bytes else Status.OUT_OF_VRAM
    if isinstance(error, MemoryError) or _errno(error) == errno.ENOMEM or _says(text, _NO_RAM):
        # Where the device is the host, the budget is what ran out; elsewhere the host did.
        on_host = device in ("cpu", "mps")
        return Status.OVER_BUDGET if budget_bytes and on_host else Status.OUT_OF_RAM
    if is_full(error):
        return Status.DISK_FULL
    if _says(text, _LOST):
        return Status.DEVICE_LOST
    # Whatever else a library raises while candidates are loaded and run is the combination's.
    return Status.UNSUPPORTED if stage != "start" else Status.INTERNAL


def _errno(error: BaseException) -> int | None:
    return error.errno if isinstance(error, OSError) else None


def _says(text: str, words: tuple[str, ...]) -> bool:
    return any(one in text for one in words)


#: What CUDA, cuBLAS, cuDNN and HIP say instead of torch.OutOfMemoryError.
_NO_VRAM = (
    "cuda error: out of memory",
    "cuda driver error: out of memory",
    "hip error: out of memory",
    "status_alloc_failed",
)
#: What torch's CPU allocator, oneDNN and the C library say. "could not create a primitive" is
#: oneDNN's only sign of a refused allocation (seen under RLIMIT_DATA).
_NO_RAM = (
    "allocate memory",
    "not enough memory",
    "could not create a primitive",
    "could not create a memory",
    # CPython 3.11, where a frame of Python finds no memory: what runs wild in recursion ends so.
    "error return without exception set",
    # Inside dynamo and inductor every error becomes one of theirs.
    "memoryerror",
    "bad_alloc",
)
#: The card, not the candidate (fault matrix G3).
_LOST = (
    "uncorrectable ecc",
    "gpu is lost",
    "fallen off the bus",
    "no cuda-capable device",
    "devices are busy or unavailable",
)
