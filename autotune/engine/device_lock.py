"""One measuring trial per device, held by a kernel lock that trials inherit (D5).

The lock is an ``flock`` on a file named after the device's UUID. Child processes inherit the
descriptor, so the device stays locked exactly as long as any of them lives.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from autotune.errors import CannotRun
from autotune.files import cache_folder
from autotune.records import Device

_POLL_S = 0.5


class DeviceLock:
    """An exclusive hold on a device, from creation to ``release``.

    Args:
        device: The device to hold.
        wait: Wait for another holder to finish; otherwise raise at once.
        waiting: Called once with a sentence when there is something to wait for.

    Raises:
        CannotRun: If another process holds the device and ``wait`` is false.
    """

    def __init__(
        self, device: Device, *, wait: bool, waiting: Callable[[str], None] | None = None
    ) -> None:
        name = re.sub(r"[^A-Za-z0-9._-]", "_", device.uuid)
        self.path = cache_folder("locks") / f"{name}.lock"
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._acquire(device, wait, waiting)
        except BaseException:
            os.close(self.descriptor)
            raise
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, json.dumps({"pid": os.getpid()}).encode(), 0)

    def _acquire(self, device: Device, wait: bool, waiting: Callable[[str], None] | None) -> None:
        told = False
        while True:
            try:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                sentence = f"{device.name} is in use by another autotune{_holder(self.path)}"
                if not wait:
                    raise CannotRun(
                        sentence, hint="leave out --no-wait to wait until it is free"
                    ) from None
                if waiting is not None and not told:
                    waiting(f"{sentence}; waiting until it is free")
                    told = True
                time.sleep(_POLL_S)

    def release(self) -> None:
        """Let go; children that still live keep the device locked until they end."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def _holder(path: Path) -> str:
    try:
        return f" (process {json.loads(path.read_bytes()[:1000])['pid']})"
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""
