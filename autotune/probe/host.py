"""The host: processor, memory and its limits, disk, load."""

from __future__ import annotations

import math
import os
import platform
import shutil
from pathlib import Path
from typing import TypeVar

from autotune.probe.cgroup import core_quota, memory_limit
from autotune.probe.cpu import parse_core_list, parse_cpuinfo
from autotune.probe.text_files import read_text, to_number
from autotune.records import Host

Value = TypeVar("Value")

_ROOT = Path("/")


def probe_host(disk_path: Path | None = None, *, root: Path = _ROOT) -> Host:
    """Read the host. Never raises: what cannot be read is in ``unknown``.

    Args:
        disk_path: Whose disk is asked for free space; the current folder by default. It need not
            exist yet.
        root: Where ``proc`` and ``sys`` lie.
    """
    unknown: dict[str, str] = {}
    cpu = parse_cpuinfo(read_text(root / "proc/cpuinfo") or "")
    name = cpu.name or platform.processor() or None
    if name is None:
        unknown["cpu_name"] = "/proc/cpuinfo does not name it"
    logical = cpu.cores or os.cpu_count() or 1
    memory = parse_meminfo(read_text(root / "proc/meminfo") or "")
    for field, value in _memory_elsewhere().items() if "MemTotal" not in memory else ():
        memory.setdefault(field, value)
    if "MemTotal" not in memory:
        unknown["ram_total_bytes"] = "neither /proc/meminfo nor the system tells"
    limit = memory_limit(root)
    available = memory.get("MemAvailable", memory.get("MemFree", 0))
    if limit.headroom_bytes is not None:
        available = min(available, limit.headroom_bytes)
    return Host(
        os=_system(root),
        arch=platform.machine(),
        cpu_name=name,
        cpu_features=cpu.features,
        logical_cores=logical,
        usable_cores=_usable_cores(root, logical),
        ram_total_bytes=memory.get("MemTotal", 0),
        ram_available_bytes=available,
        ram_limit_bytes=limit.limit_bytes,
        swap_total_bytes=_or_unknown(memory.get("SwapTotal"), "swap_total_bytes", unknown),
        disk_free_bytes=_or_unknown(_disk_free(disk_path), "disk_free_bytes", unknown),
        load_1m=_or_unknown(_load(root), "load_1m", unknown),
        unknown=unknown,
    )


def parse_meminfo(text: str) -> dict[str, int]:
    """The lines of /proc/meminfo that are in kB, in bytes; others are left out."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        words = value.split()
        if len(words) == 2 and words[1] == "kB" and (number := to_number(words[0])) is not None:
            found[key] = number * 1024
    return found


def _memory_elsewhere() -> dict[str, int]:
    """The same from psutil, for systems without /proc."""
    try:
        import psutil

        memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    except Exception:  # it parses what the system gives and fails in as many ways
        return {}
    return {"MemTotal": memory.total, "MemAvailable": memory.available, "SwapTotal": swap.total}


def _usable_cores(root: Path, logical: int) -> int:
    """The cores this process may run on, or fewer where its time is limited.

    Half a core more than a whole number is rounded down: a thread too many is throttled, and the
    others wait for it.
    """
    allowed = logical
    for line in (read_text(root / "proc/self/status") or "").splitlines():
        if line.startswith("Cpus_allowed_list:"):
            allowed = parse_core_list(line.partition(":")[2].strip()) or logical
    quota = core_quota(root)
    return max(1, min(allowed, logical, int(quota) if quota is not None else allowed))


def _system(root: Path) -> str:
    release = read_text(root / "proc/sys/kernel/osrelease") or ""
    # Under WSL memory limits, NVML and speed are those of Windows.
    return f"{platform.system()} (WSL)" if "microsoft" in release.lower() else platform.system()


def _disk_free(path: Path | None) -> int | None:
    """Free bytes on the disk of the nearest folder that exists."""
    try:
        place = (path or Path()).absolute()
        while not place.exists() and place != place.parent:
            place = place.parent
        return shutil.disk_usage(place).free
    except (OSError, ValueError):  # no permission, a removed folder, a NUL in the path
        return None


def _load(root: Path) -> float | None:
    try:
        load = float((read_text(root / "proc/loadavg") or "").split()[0])
    except (ValueError, IndexError):
        return None
    return load if math.isfinite(load) else None


def _or_unknown(value: Value | None, field: str, unknown: dict[str, str]) -> Value | None:
    if value is None:
        unknown[field] = "the system does not tell"
    return value
