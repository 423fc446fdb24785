"""One measuring trial per device, held by a kernel lock that trials inherit (D5).

The lock is an ``flock`` on a file named after the device's UUID. Child processes inherit the
descriptor, so the device stays locked exactly as long as any of them lives.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from autotune.errors import CannotRun
from autotune.holder import holder_of, note_holder
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
        self.path = _lock_folder() / f"{name}.lock"
        self.waited = False
        self.descriptor = _open_shared(self.path)
        try:
            self._acquire(device, wait, waiting)
        except BaseException:
            os.close(self.descriptor)
            raise
        note_holder(self.descriptor)

    def _acquire(self, device: Device, wait: bool, waiting: Callable[[str], None] | None) -> None:
        while True:
            try:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                sentence = f"{device.name} is in use by another autotune{holder_of(self.path)}"
                if not wait:
                    raise CannotRun(
                        sentence, hint="leave out --no-wait to wait until it is free"
                    ) from None
                if waiting is not None and not self.waited:
                    waiting(f"{sentence}; waiting until it is free")
                self.waited = True
                time.sleep(_POLL_S)

    def release(self) -> None:
        """Let go; children that still live keep the device locked until they end."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def _lock_folder() -> Path:
    """One folder for all users of the machine: a card is shared by more than one of them."""
    folder = Path(
        os.environ.get("AUTOTUNE_LOCKS") or Path(tempfile.gettempdir(), "autotune-locks")
    )
    try:
        folder.mkdir(parents=True)
        folder.chmod(0o1777)
    except FileExistsError:
        pass  # made by us, or by another user, before
    except OSError as error:
        raise CannotRun(
            f"device locks cannot be kept in {folder}: {error.strerror}",
            hint="set AUTOTUNE_LOCKS to a folder that all users of the machine can write",
        ) from None
    return folder


def _open_shared(path: Path) -> int:
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        try:
            descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
            os.fchmod(descriptor, 0o666)  # whatever the umask: the next user must lock it too
        except FileExistsError:
            descriptor = os.open(path, flags)
    except OSError as error:
        raise CannotRun(
            f"the lock of the device, {path}, cannot be opened: {error.strerror}",
            hint="remove it if no autotune is running, or set AUTOTUNE_LOCKS",
        ) from None
    return descriptor
