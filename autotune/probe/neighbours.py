"""What others do with the device and the processor, from snapshots around and during a trial."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from autotune.errors import CannotRun
from autotune.probe.cpu_time import parse_cpu_ticks, process_times, sum_of_family
from autotune.probe.deadline import DEADLINE_S
from autotune.probe.text_files import read_text
from autotune.records import Device, Record


class Snapshot(Record):
    """One moment. Compare two: only growth tells others from us, as containers hide whose it is.

    The ticks count CPU time since boot: of all cores, of those that were busy, and of our own
    processes. ``lost`` says why no trial can run on the device any more.
    """

    used_bytes: int | None = None
    processes: int | None = None
    utilisation: float | None = None
    total_ticks: int | None = None
    busy_ticks: int | None = None
    own_ticks: int | None = None
    lost: str | None = None
    unknown: Mapping[str, str] = {}


def neighbours(
    device: Device,
    own: Collection[int] = (),
    *,
    deadline_s: float = DEADLINE_S,
    root: Path = Path("/"),
) -> Snapshot:
    """Take a snapshot. Never raises; a device that went away is ``lost``.

    Args:
        device: Whose use is asked for; memory and processes are known of NVIDIA cards only.
        own: The processes that are ours; their descendants are, too.
        deadline_s: How long NVML may take.
        root: Where ``proc`` lies.
    """
    total, busy = parse_cpu_ticks(read_text(root / "proc/stat") or "")
    seen = Snapshot(
        total_ticks=total, busy_ticks=busy, own_ticks=sum_of_family(process_times(root), own)
    )
    if device.kind != "cuda":
        return seen
    from autotune.probe import nvml

    try:
        reading = nvml.read_use(device.uuid, deadline_s)
    except CannotRun as error:
        gone = error.message if getattr(error, "lost", False) else None
        asked = ("used_bytes", "processes", "utilisation")
        return seen.but(lost=gone, unknown=dict.fromkeys(asked, error.message))
    use = {key: reading.values[key] for key in reading.values if key in Snapshot.model_fields}
    return seen.but(**use, unknown=reading.unknown)


def share_of_others(before: Snapshot, after: Snapshot) -> float | None:
    """The share of all CPU time between two snapshots that was taken by others, 0 to 1.

    ``None`` when a snapshot lacks something, or no time passed. Time stolen by other virtual
    machines is taken by others, too.
    """
    numbers = [
        (old, new)
        for old, new in (
            (before.total_ticks, after.total_ticks),
            (before.busy_ticks, after.busy_ticks),
            (before.own_ticks, after.own_ticks),
        )
        if old is not None and new is not None
    ]
    if len(numbers) < 3:
        return None
    total, busy, own = (new - old for old, new in numbers)
    return min(1.0, max(0.0, (busy - max(0, own)) / total)) if total > 0 else None
