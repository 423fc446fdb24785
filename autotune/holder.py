"""Who holds a lock, in its file: for messages, since the kernel alone knows whether it is held.

A process id is used again, after a restart of the machine soon. So what is noted is the process,
when it started, and the boot in which it did (fault matrix C17).
"""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from autotune.errors import one_line
from autotune.strict_json import parse_json

_MOST_BYTES = 1000
_BOOT = Path("/proc/sys/kernel/random/boot_id")
#: Of the words of /proc/PID/stat behind the name: when the process started, in ticks since boot.
_STARTED = 19


def note_holder(descriptor: int) -> None:
    """Write into a lock's file that this process holds it."""
    pid = os.getpid()
    # The time is for people; nothing is decided by a clock that may jump.
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    told = {"pid": pid, "started": _started(pid), "boot": _boot(), "since": since}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(told | {"host": socket.gethostname()}).encode(), 0)


def holder_of(path: Path) -> str:
    """Who holds the lock of that file, in brackets for a message; empty if it does not say.

    A lock may outlive the process that took it: what that one started holds it too.
    """
    try:
        told: Any = parse_json(path.read_bytes()[:_MOST_BYTES], what="the lock")
        pid, started, boot = int(told["pid"]), told["started"], told["boot"]
        since, host = (one_line(str(told[name]), 60) for name in ("since", "host"))
    except Exception:  # it may hold anything, and decides nothing
        return ""
    where = "" if host == socket.gethostname() else f" on {host}"
    if not where and (started, boot) != (_started(pid), _boot()):
        return f" (what process {pid} left running when it ended)"
    return f" (process {pid}{where}, since {since})"


def _started(pid: int) -> int | None:
    """When a process started, in ticks since boot; ``None`` if there is none, or no ``/proc``."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
        return int(text.rpartition(")")[2].split()[_STARTED])
    except (OSError, ValueError, IndexError):
        return None


def _boot() -> str | None:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return None
