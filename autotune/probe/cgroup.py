"""Limits that a container or a service manager puts on this process: cgroup v2, and v1 before it.

A limit of a parent binds as much as the group's own, so the whole chain up to the mount is read.
Both versions are asked, as systems in transition keep memory in v1 beside an empty v2 tree.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from autotune.probe.text_files import read_number, read_text, to_number

#: v1 says "no limit" with the largest multiple of the page size below 2**63.
_NO_LIMIT_BYTES = 2**60

#: By version: the limits, the use, and the counter of memory that only caches files.
_MEMORY_FILES: dict[int, tuple[tuple[str, ...], str, str]] = {
    1: (("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file"),
    # Above `high` the kernel brakes the process, and a braked time means nothing.
    2: (("memory.max", "memory.high"), "memory.current", "inactive_file"),
}


class MemoryLimit(NamedTuple):
    """The tightest limit, and how much more this process may take; ``None`` without a limit."""

    limit_bytes: int | None
    headroom_bytes: int | None


class _Group(NamedTuple):
    version: int
    folder: Path


def memory_limit(root: Path = Path("/")) -> MemoryLimit:
    """Read the memory limit of this process, parents included.

    Memory that only caches files counts as free: the kernel drops it before it refuses anything.
    """
    limits: list[int] = []
    headrooms: list[int] = []
    for version, folder in _groups(root, "memory"):
        names, usage, cache = _MEMORY_FILES[version]
        found = [value for name in names if (value := read_number(folder / name)) is not None]
        limit = min(found, default=_NO_LIMIT_BYTES)
        if limit >= _NO_LIMIT_BYTES:
            continue
        used = (read_number(folder / usage) or 0) - _counter(folder / "memory.stat", cache)
        limits.append(limit)
        headrooms.append(max(0, limit - max(0, used)))
    return MemoryLimit(min(limits, default=None), min(headrooms, default=None))


def core_quota(root: Path = Path("/")) -> float | None:
    """Read how many cores' worth of time this process may use; ``None`` without a limit."""
    quotas: list[float] = []
    for version, folder in _groups(root, "cpu"):
        if version == 2:
            quota_text, _, period_text = (read_text(folder / "cpu.max") or "").partition(" ")
        else:
            quota_text = read_text(folder / "cpu.cfs_quota_us") or ""
            period_text = read_text(folder / "cpu.cfs_period_us") or ""
        # Without a limit the quota is "max" or -1, which are no numbers here.
        quota, period = to_number(quota_text), to_number(period_text)
        if quota and period:
            quotas.append(quota / period)
    return min(quotas, default=None)


def _groups(root: Path, controller: str) -> Iterator[_Group]:
    """The groups this process is in for a controller, from its own up to the mount."""
    for version, mount_root, mount in _mounts(root, controller):
        path = _path_of_process(root, version, controller)
        if path is None:
            continue
        # Without a cgroup namespace a container sees the path on the host, mounted from there.
        parts = [part for part in path.removeprefix(mount_root).split("/") if part]
        if ".." in parts:  # the process sits outside the namespace it looks from
            parts = []
        for depth in range(len(parts), -1, -1):
            yield _Group(version, mount.joinpath(*parts[:depth]))


def _mounts(root: Path, controller: str) -> Iterator[tuple[int, str, Path]]:
    """Version, mounted subtree and mount point of each hierarchy that may hold the controller."""
    for line in (read_text(root / "proc/self/mountinfo") or "").splitlines():
        mounted, _, kind = line.partition(" - ")
        left, right = mounted.split(), kind.split()
        if len(left) < 5 or len(right) < 3:
            continue
        place = root / left[4].replace("\\040", " ").lstrip("/")
        subtree = left[3].rstrip("/")
        if right[0] == "cgroup2":
            yield 2, subtree, place
        elif right[0] == "cgroup" and controller in right[2].split(","):
            yield 1, subtree, place


def _path_of_process(root: Path, version: int, controller: str) -> str | None:
    for line in (read_text(root / "proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if (controllers == "") if version == 2 else (controller in controllers.split(",")):
            return path
    return None


def _counter(path: Path, name: str) -> int:
    for line in (read_text(path) or "").splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.isascii() and value.isdigit():
            return int(value)
    return 0
