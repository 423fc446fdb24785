"""What a film says against a measurement: throttling (M11) and neighbours (M18), in sentences.

Whose memory and processes they are is told by difference, since containers hide it.
"""

from __future__ import annotations

from collections.abc import Callable

from autotune.probe.film import Film, Frame
from autotune.units import format_bytes

#: Bits of NVML's clocks event reasons (nvml.h). Newer drivers set bits that are not named here.
IDLE, CHOSEN_CLOCKS, POWER_CAP, SYNC_BOOST, DISPLAY_CLOCKS = 0x1, 0x2, 0x4, 0x10, 0x100
_NAMES = {
    IDLE: "idle",
    CHOSEN_CLOCKS: "clocks that were set",
    POWER_CAP: "software power cap",
    0x8: "hardware slowdown",
    SYNC_BOOST: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
    DISPLAY_CLOCKS: "clocks of the display",
    0x200: "board limit",
    0x400: "reliability",
}
#: The card protects itself. A software power cap does not count: it is normal under load.
_SLOWDOWNS = 0x8 | 0x20 | 0x40 | 0x80
#: Low clocks that have an ordinary cause.
_EXPLAINED = IDLE | CHOSEN_CLOCKS | POWER_CAP | SYNC_BOOST | DISPLAY_CLOCKS
#: Half of what makes a result unstable (M8), as for the processors' time in ``trial/quiet.py``.
_SHARE = 0.05
#: Below this share of its default clock a card is throttled (nvbench's default), where it is so
#: for most of the time it works: a clock takes a moment to rise.
_SLOW_CLOCK, _MOSTLY = 0.75, 0.5
#: What memory may differ by without anybody else having a hand in it (fault matrix G7).
_LEAST_BYTES, _LEAST_SHARE = 64 << 20, 0.01
#: What a card may do while no trial runs: as in ``search/calm.py``.
_OTHERS_BUSY = 0.10


def tolerance_bytes(total_bytes: int) -> int:
    """Below so much growth nobody is suspected."""
    return max(_LEAST_BYTES, int(total_bytes * _LEAST_SHARE))


def shares_of_reasons(film: Film, start_s: float, end_s: float) -> dict[str, float]:
    """For what share of the time each reason for a clock held, unknown ones by their bits."""
    lasting = film.lasting(start_s, end_s)
    every = 0
    for frame, _ in lasting:
        every |= frame.event_reasons or 0
    bits = [1 << place for place in range(every.bit_length()) if every & 1 << place]
    return {
        _NAMES.get(bit, f"unknown reason {bit:#x}"): _share_of(lasting, bit) or 0.0 for bit in bits
    }


def throttled(film: Film, start_s: float, end_s: float) -> str | None:
    """How the card slowed itself down between two moments, or ``None``."""
    lasting = film.lasting(start_s, end_s)
    share = _share_of(lasting, _SLOWDOWNS)
    if share is not None and share >= _SHARE:
        hottest = max((frame.temperature_c or 0 for frame, _ in lasting), default=0)
        slowdowns = {name for bit, name in _NAMES.items() if bit & _SLOWDOWNS}
        names = [name for name in shares_of_reasons(film, start_s, end_s) if name in slowdowns]
        at = f" at {hottest} °C" if hottest else ""
        return f"the device slowed itself down for {share:.0%} of the time{at}: {', '.join(names)}"
    usual_mhz = _usual_mhz(film)
    busy = [(frame, s) for frame, s in lasting if frame.is_busy and frame.sm_clock_mhz is not None]
    slow = _share(busy, lambda frame: _is_slow(frame, usual_mhz))
    if slow is None or slow < _MOSTLY:
        return None
    least = min(frame.sm_clock_mhz or 0 for frame, _ in busy)
    return f"the device ran at {least} MHz under load, of {usual_mhz:.0f} MHz, for no known reason"


def interfered(
    film: Film, start_s: float, timed_s: float, end_s: float, total_bytes: int
) -> str | None:
    """What others did to the card, or ``None``.

    Args:
        film: Up to now, some moments after the trial's process has ended.
        start_s: Before the trial's process began.
        timed_s: From when on another process counts.
        end_s: When the trial's process had ended.
        total_bytes: The card's memory.
    """
    before, after = film.at(start_s), film.frames[-1] if film.frames else None
    if before is None or after is None:
        return None
    why = _came_or_left(film, before, timed_s, end_s, after) or _other_limit(before, after)
    if why is not None:
        return why
    grown = _grown(before, after)
    if abs(grown) > tolerance_bytes(total_bytes) and not held_bytes(
        film, start_s, end_s, total_bytes
    ):
        verb = "took" if grown > 0 else "gave back"
        return f"others {verb} {format_bytes(abs(grown))} of the device's memory"
    if after.at_s > end_s and keeps_busy(after):
        return f"other processes keep the device busy for {after.utilisation:.0%} of the time"
    return None


def keeps_busy(frame: Frame) -> bool:
    """Whether somebody computes on the card, in a frame of a time at which no trial runs."""
    return (frame.utilisation or 0.0) >= _OTHERS_BUSY


def held_bytes(film: Film, start_s: float, end_s: float, total_bytes: int) -> int:
    """What stays in use after a trial though as many processes are left as before it.

    Zero where processes cannot be seen, not even the trial's own: it may be anybody's then.
    """
    before, after = film.at(start_s), film.frames[-1] if film.frames else None
    if before is None or after is None or before.processes != after.processes:
        return 0
    grown = _grown(before, after)
    seen = _sees_own(film, start_s, end_s, before.processes)
    return grown if seen and grown > tolerance_bytes(total_bytes) else 0


def _came_or_left(
    film: Film, before: Frame, timed_s: float, end_s: float, after: Frame
) -> str | None:
    """Whether another process came or left: one more than before is the trial's own."""
    if before.processes is None or after.processes is None:
        return None
    during = [one.processes for one in film.between(timed_s, end_s) if one.processes is not None]
    if after.processes > before.processes or max(during, default=0) > before.processes + 1:
        return "another process came onto the device"
    if min([after.processes, *during]) < before.processes:
        return "another process left the device"
    return None


def _other_limit(before: Frame, after: Frame) -> str | None:
    """Whether somebody changed what power the card may draw (fault matrix G11)."""
    earlier, now = before.power_limit_w, after.power_limit_w
    if earlier is None or now is None or earlier == now:
        return None
    return f"the device's power limit was changed from {earlier:.0f} W to {now:.0f} W"


def _sees_own(film: Film, start_s: float, end_s: float, before: int | None) -> bool:
    """Whether the trial's own process was seen among those on the card."""
    frames = film.between(start_s, end_s)
    return before is not None and any((frame.processes or 0) > before for frame in frames)


def _grown(before: Frame, after: Frame) -> int:
    if before.used_bytes is None or after.used_bytes is None:
        return 0
    return after.used_bytes - before.used_bytes


def _usual_mhz(film: Film) -> float:
    """The clock a card should have: what it is made for, but no more than it has shown.

    Cards of people never reach the highest clock they could have, nor do those whose clocks were
    lowered by their owner.
    """
    stated = film.default_clock_mhz or film.max_clock_mhz or 0
    return min(stated, film.fastest_mhz or stated)


def _is_slow(frame: Frame, usual_mhz: float) -> bool:
    return (frame.sm_clock_mhz or 0) < _SLOW_CLOCK * usual_mhz and not _has(frame, _EXPLAINED)


def _has(frame: Frame, bits: int) -> bool:
    return bool((frame.event_reasons or 0) & bits)


def _share_of(lasting: list[tuple[Frame, float]], bits: int) -> float | None:
    return _share(lasting, lambda frame: _has(frame, bits))


def _share(lasting: list[tuple[Frame, float]], holds: Callable[[Frame], bool]) -> float | None:
    """For what share of the time something held; ``None`` if no time passed."""
    total_s = sum(seconds for _, seconds in lasting)
    if total_s <= 0:
        return None
    return sum(seconds for frame, seconds in lasting if holds(frame)) / total_s
