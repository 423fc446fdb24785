"""Limits around a trial, and the classification of what goes wrong inside it."""

from __future__ import annotations

import errno
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from autotune.records import Device, Status
from autotune.trial.memory import status_bytes

#: Address space that is not memory in use: allocator arenas and loader slack.
_SLACK_BYTES = 64 << 20
#: The default stack of a thread on Linux; OpenMP starts one a core.
_STACK_BYTES = 8 << 20


class GaveUp(BaseException):
    """A generation took too long to matter. Not an Exception: libraries must not swallow it."""


def enforce_budget(device: Device, budget_bytes: int, threads: int) -> None:
    """Make an overrun of the budget fail inside this process, and only here.

    On the host ``RLIMIT_DATA`` makes torch's allocator raise. It counts reserved, not resident
    memory, hence the slack; what stays below it is judged by the measured peak.
    """
    if device.kind in ("cpu", "mps"):
        import resource

        limit = status_bytes("VmData") + budget_bytes + _SLACK_BYTES + threads * _STACK_BYTES
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
        return
    import torch

    share = min(1.0, budget_bytes / device.total_bytes)
    module = torch.get_device_module("cuda" if device.kind == "rocm" else device.kind)
    module.set_per_process_memory_fraction(share)


@contextmanager
def give_up_after(seconds: float) -> Iterator[None]:
    """Raise GaveUp inside the block once it has taken that long."""

    def stop(*_: object) -> None:
        raise GaveUp(f"a generation took more than {seconds:.3g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def classify(error: BaseException, *, budget_bytes: int | None, stage: str) -> Status:
    """Say what kind of failure an exception is: by type first, by text last."""
    import torch

    if isinstance(error, GaveUp):
        return Status.TOO_SLOW
    if isinstance(error, torch.OutOfMemoryError):
        return Status.OVER_BUDGET if budget_bytes else Status.OUT_OF_VRAM
    if isinstance(error, MemoryError) or _no_memory(error):
        return Status.OVER_BUDGET if budget_bytes else Status.OUT_OF_RAM
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Status.DISK_FULL
    if isinstance(error, KeyboardInterrupt):
        return Status.CANCELLED
    # Whatever else a library raises while candidates are loaded and run is the combination's.
    return Status.UNSUPPORTED if stage != "start" else Status.INTERNAL


def _no_memory(error: BaseException) -> bool:
    """torch's CPU allocator and the C library raise plain errors with these words."""
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    text = str(error).lower()
    return isinstance(error, (RuntimeError, OSError)) and (
        "allocate memory" in text or "not enough memory" in text
    )
