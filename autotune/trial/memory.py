"""Peak memory of a trial, phase by phase, above the level before load (design D9, §8).

On an accelerator: torch's allocated and reserved peaks, and the device's own level; beside them,
what the trial takes of the host. On the host: the high-water mark of resident memory (``VmHWM``),
reset through ``clear_refs`` at each phase.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from autotune.levers.mechanisms.torch_names import is_accelerator, torch_index, torch_module
from autotune.records import Device, Memory

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
#: Written to clear_refs, resets the resident high-water mark (proc(5)).
_RESET_PEAK = "5"


class Meter(Protocol):
    """Reads peaks between marks."""

    def mark(self, phase: str) -> None:
        """End a phase: what was the peak since the last mark belongs to it."""

    def outside_bytes(self) -> int:
        """What this process has on the device now, beside what torch's allocator took."""

    def report(self) -> Memory:
        """Everything marked so far."""


def make_meter(device: Device) -> Meter:
    """The meter for this device, with its level taken now, before load."""
    return AcceleratorMeter(device) if is_accelerator(device) else HostMeter()


class HostMeter:
    """Resident memory of this process; where the kernel forbids the reset, peaks only grow."""

    def __init__(self) -> None:
        self.can_reset = self._reset()
        self._level = status_bytes("VmRSS")
        self._phases: dict[str, int] = {}

    def mark(self, phase: str) -> None:
        """See Meter."""
        peak = max(0, status_bytes("VmHWM") - self._level)
        self._phases[phase] = max(peak, self._phases.get(phase, 0))
        self.can_reset = self.can_reset and self._reset()

    def outside_bytes(self) -> int:
        """See Meter; the level holds it all."""
        return 0

    def report(self) -> Memory:
        """See Meter."""
        how = "resident memory of the process (VmHWM) above its level before load"
        if not self.can_reset:
            how += "; the kernel does not let it be reset between phases"
        return Memory(
            level_bytes=self._level,
            peak_bytes=max(self._phases.values(), default=0),
            phases=self._phases,
            how=how,
        )

    def _reset(self) -> bool:
        try:
            _CLEAR_REFS.write_text(_RESET_PEAK)
        except OSError:
            return False
        return True


class BesideMeter:
    """Host memory of a trial on an accelerator: what offloaded weights, and the driver, take.

    While loading, weights pass through pages of their files, which the kernel drops when it needs
    them: there only pages that belong to no file count. Later phases count all that is resident,
    since weights whose pages were dropped are read again for every picture.
    """

    def __init__(self) -> None:
        self._meter = HostMeter()
        self._level = _anonymous()
        self._kept = 0
        self._peak = 0

    def mark(self, phase: str) -> None:
        """See Meter."""
        self._kept = max(self._kept, _anonymous() - self._level)
        self._meter.mark(phase)
        if phase != "load" and self._meter.can_reset:
            self._peak = max(self._peak, self._meter.report().phases[phase])

    def peak_bytes(self) -> int:
        """The most so far."""
        return max(self._kept, self._peak)


class AcceleratorMeter:
    """The larger of torch's reserved bytes and the growth of the device's used bytes.

    Must be made before torch has touched the device: the level is read through the management
    library, so that the context, which every process pays, counts as the trial's (D9).
    """

    def __init__(self, device: Device) -> None:
        self._host = BesideMeter() if _STATUS.exists() else None
        self._module: Any = torch_module(device)
        self._index = torch_index(device)
        self._managed = True
        try:
            self._level = self._used()
        except Exception:  # no management library, or not for this kind of device
            self._managed = False
            self._level = self._used()
        self._phases: dict[str, int] = {}
        self._allocated = self._reserved = self._device = 0
        self._module.set_device(self._index)
        self._module.reset_peak_memory_stats()

    def mark(self, phase: str) -> None:
        """See Meter."""
        self._module.synchronize()
        if self._host is not None:
            self._host.mark(phase)
        reserved = int(self._module.max_memory_reserved())
        grown = max(0, self._used() - self._level)
        # What the device shows and torch does not hold now is the context and other libraries.
        context = max(0, grown - int(self._module.memory_reserved()))
        peak = max(grown, reserved + context)
        self._phases[phase] = max(peak, self._phases.get(phase, 0))
        self._allocated = max(self._allocated, int(self._module.max_memory_allocated()))
        self._reserved = max(self._reserved, reserved)
        self._device = max(self._device, grown)
        self._module.reset_peak_memory_stats()

    def outside_bytes(self) -> int:
        """See Meter: at the beginning, the context."""
        self._module.synchronize()
        return max(0, self._used() - self._level - int(self._module.memory_reserved()))

    def report(self) -> Memory:
        """See Meter."""
        return Memory(
            level_bytes=self._level,
            peak_bytes=max(self._phases.values(), default=0),
            phases=self._phases,
            allocated_bytes=self._allocated,
            reserved_bytes=self._reserved,
            device_bytes=self._device,
            host_bytes=self._host.peak_bytes() if self._host else None,
            pinned_bytes=self._pinned(),
            how="max(torch reserved + context, device level above the level before load)"
            + ("" if self._managed else "; the context itself could not be told apart"),
        )

    def _pinned(self) -> int | None:
        """The most page-locked memory torch had; xpu does not say."""
        statistics: dict[str, int] = getattr(self._module, "host_memory_stats", dict)()
        peak = statistics.get("allocated_bytes.peak")
        return None if peak is None else int(peak)

    def _used(self) -> int:
        if self._managed:
            return int(self._module.device_memory_used(self._index))
        free, total = self._module.mem_get_info(self._index)
        return int(total - free)


def _anonymous() -> int:
    """Resident pages of this process that belong to no file."""
    return status_bytes("RssAnon") + status_bytes("RssShmem")


def status_bytes(field: str) -> int:
    """A memory line of ``/proc/self/status`` in bytes."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no line {field}")
