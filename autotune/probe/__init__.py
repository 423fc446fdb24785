"""What this machine is: devices, host, software, neighbours, fingerprint.

Nothing here imports torch or diffusers, except where a build of torch for another accelerator is
the only way to ask for it (`torch_device.py`). A machine without a GPU is probed in milliseconds.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autotune.records import Machine


def probe_machine(disk_path: Path | None = None) -> Machine:
    """Look at the whole machine. Never raises: what cannot be read is listed as unknown.

    Args:
        disk_path: Where results and models will lie; the current folder by default.
    """
    from autotune.probe.device import probe_devices
    from autotune.probe.host import probe_host
    from autotune.probe.software import probe_software
    from autotune.records import Machine

    host = probe_host(disk_path)
    devices, unknown = probe_devices(host)
    return Machine(host=host, devices=devices, software=probe_software(), unknown=unknown)


class _Callable(ModuleType):
    """Lets ``autotune.probe()`` work: the package and the public function share their name."""

    def __call__(self) -> Machine:
        return probe_machine()


sys.modules[__name__].__class__ = _Callable
