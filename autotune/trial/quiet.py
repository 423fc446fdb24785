"""Did anything else compute while this process was timed? (rules M10 and M18, fault matrix G12)

Two instruments of the kernel have to agree: what others took of the processors this process may
use, and how long its own threads stood in the queue for one. Others on processors that nobody
wanted disturb no one; threads that wait for each other disturb themselves.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from autotune.units import format_bytes

#: Half of what makes a result unstable (M8), and more than a coordinator that polls: of the
#: processors' time for others, and of a generation's for waiting.
_SHARE = 0.05
#: Times of processes are counted in hundredths of a second: less than three is no finding.
_LEAST_S = 0.03
#: As much as takes an SSD a quarter of a second, page by page (fault matrix G12).
_SWAPPED_BYTES = 10 << 20
#: Between two looks at whether it is quiet.
_LOOK_S = 0.25
_SWAPS = ("pswpin ", "pswpout ")


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Seconds up to now: of all processors that may be used, and of this session's processes.

    ``waited_s`` is what this process's threads waited for a processor, ``None`` where the kernel
    does not say; ``stolen_s`` is what the hypervisor gave to other machines; ``swapped_bytes`` is
    what the host moved between memory and swap, in both directions.
    """

    at_s: float
    all_s: float
    busy_s: float
    stolen_s: float
    own_s: float
    waited_s: float | None
    swapped_bytes: int = 0


def now(root: Path = Path("/")) -> Moment | None:
    """This moment, or ``None`` where there is no ``/proc`` that says."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    try:
        all_s, busy_s, stolen_s = _processors(root)
        return Moment(
            at_s=time.perf_counter(),
            all_s=all_s,
            busy_s=busy_s,
            stolen_s=stolen_s,
            own_s=_session_s(root),
            waited_s=_waited_s(root),
            swapped_bytes=_swapped_bytes(root),
        )
    except (OSError, ValueError, IndexError):
        return None


def disturbance(before: Moment | None, after: Moment | None) -> str | None:
    """What disturbed this process between two moments, in a sentence, or ``None``."""
    if before is None or after is None or after.all_s <= before.all_s:
        return None
    swapped = after.swapped_bytes - before.swapped_bytes
    if swapped >= _SWAPPED_BYTES:
        return f"the host moved {format_bytes(swapped)} between memory and swap"
    others_s = after.busy_s - before.busy_s - (after.own_s - before.own_s)
    share = others_s / (after.all_s - before.all_s)
    if others_s < _LEAST_S or share < _SHARE:
        return None
    if before.waited_s is not None and after.waited_s is not None:
        waited_s = after.waited_s - before.waited_s + after.stolen_s - before.stolen_s
        if waited_s < _SHARE * (after.at_s - before.at_s):
            return None
    return f"other processes took {share:.0%} of the processors' time"


def settle(most_s: float) -> None:
    """Wait until others leave the processors alone, or so long."""
    end_s = time.perf_counter() + most_s
    before = now()
    while before is not None and time.perf_counter() < end_s:
        time.sleep(_LOOK_S)
        after = now()
        if after is None:
            return
        others_s = after.busy_s - before.busy_s - (after.own_s - before.own_s)
        if others_s < max(_LEAST_S, _SHARE * (after.all_s - before.all_s)):
            return
        before = after


def _processors(root: Path) -> tuple[float, float, float]:
    """All, busy and stolen seconds of the processors that this process may use."""
    usable = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    total = idle = stolen = 0
    for line in (root / "proc/stat").read_text().splitlines():
        name, *words = line.split()
        if name in usable:
            # user nice system idle iowait irq softirq steal; guest time is part of user.
            ticks = [int(word) for word in words[:8]]
            total += sum(ticks)
            idle += ticks[3] + ticks[4]
            stolen += ticks[7]
    if not total:
        raise ValueError("no line of a processor that may be used")
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    return total * tick_s, (total - idle) * tick_s, stolen * tick_s


def _swapped_bytes(root: Path) -> int:
    """What was swapped in and out since the start; 0 where the kernel does not say."""
    try:
        lines = (root / "proc/vmstat").read_text().splitlines()
        pages = sum(int(line.split()[1]) for line in lines if line.startswith(_SWAPS))
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _session_s(root: Path) -> float:
    """Processor time of every process of this session, with that of their reaped children."""
    session, ticks = os.getsid(0), 0
    for place in (root / "proc").glob("[0-9]*/stat"):
        try:
            # The name, in brackets, may hold blanks and brackets.
            words = place.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        # state ppid pgrp session … utime stime cutime cstime
        if int(words[3]) == session:
            ticks += sum(map(int, words[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _waited_s(root: Path) -> float | None:
    """What the threads of this process waited in run queues."""
    waits = []
    for place in (root / "proc/self/task").glob("*/schedstat"):
        try:
            _, waited_ns, _ = place.read_text().split()
        except OSError:  # the thread has ended
            continue
        waits.append(int(waited_ns))
    return sum(waits) / 1e9 if waits else None
