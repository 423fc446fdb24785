"""CPU time of the machine and of processes, in ticks since boot, from /proc/stat and beside it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from autotune.probe.text_files import read_text, to_number


class ProcessTime(NamedTuple):
    """A line of /proc/<pid>/stat: the parent, and the CPU time with that of reaped children."""

    parent: int
    ticks: int


def parse_cpu_ticks(text: str) -> tuple[int | None, int | None]:
    """All and busy ticks from the first line of /proc/stat, or ``None`` twice."""
    words = text.partition("\n")[0].split()
    # user nice system idle iowait irq softirq steal; guest time, after them, is part of user.
    ticks = [number for word in words[1:9] if (number := to_number(word)) is not None]
    if words[:1] != ["cpu"] or len(ticks) < 4:
        return None, None
    return sum(ticks), sum(ticks) - sum(ticks[3:5])


def parse_process_stat(text: str) -> ProcessTime | None:
    """Read one /proc/<pid>/stat; the name in brackets may itself hold blanks and brackets."""
    words = text.rpartition(")")[2].split()
    # state ppid … utime stime cutime cstime are the 3rd, 4th and 14th to 17th fields.
    numbers = [to_number(word) for word in (words[1:2] + words[11:15])]
    known = [number for number in numbers if number is not None]
    return ProcessTime(known[0], sum(known[1:])) if len(known) == 5 else None


def process_times(root: Path = Path("/")) -> dict[int, ProcessTime]:
    """The time of every process there is now."""
    found: dict[int, ProcessTime] = {}
    try:
        names = [entry.name for entry in (root / "proc").iterdir() if entry.name.isdigit()]
    except OSError:
        return found
    for name in names:
        time = parse_process_stat(read_text(root / "proc" / name / "stat") or "")
        if time is not None:
            found[int(name)] = time
    return found


def sum_of_family(times: Mapping[int, ProcessTime], own: Collection[int]) -> int | None:
    """The ticks of some processes and their descendants; ``None`` if one of them is gone."""
    if any(pid not in times for pid in own):
        return None
    children: dict[int, list[int]] = {}
    for pid, time in times.items():
        children.setdefault(time.parent, []).append(pid)
    family: set[int] = set()
    waiting = list(own)
    while waiting:
        pid = waiting.pop()
        if pid not in family:
            family.add(pid)
            waiting += children.get(pid, [])
    return sum(times[pid].ticks for pid in family)
