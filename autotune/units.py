"""The only parser and printer of sizes, durations and counts.

Numbers are read as digits and kept as integers: ``float`` would accept ``1_000``, ``１２``,
``1e400`` and ``nan``, and would round what the user wrote.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from autotune.errors import BadInput, CannotRun, shorten

KIB, MIB, GIB, TIB = 1024, 1024**2, 1024**3, 1024**4

#: Powers of 1000 and of 1024 are told apart by the ``i``, as SI and IEC define them.
UNITS = {
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "tb": 1000**4,
    "kib": KIB,
    "mib": MIB,
    "gib": GIB,
    "tib": TIB,
}
#: Catches a wrong unit, predicts nothing: a CUDA context alone takes several times as much.
FLOOR_BYTES = 16 * MIB
#: Left to the rest of the machine when no budget is given: design D17.
RESERVE_BYTES, RESERVE_PERCENT = 512 * MIB, 3
#: A value longer than this is noise; int() refuses 4300 digits, and slows down before that.
LONGEST_TEXT = 64
#: Beyond a month the typo is likelier than the wish.
LONGEST_S = 30 * 24 * 3600
MOST_COUNT = 1_000_000
#: Shares are kept in millionths: four decimals of a percent.
WHOLE = 1_000_000

_SIZE = re.compile(r"([0-9]+)(?:\.([0-9]+))? ?([A-Za-z]+)")
_SHARE = re.compile(r"([0-9]+)(?:\.([0-9]{1,4}))?%")
_BARE = re.compile(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_NOT_POSITIVE = re.compile(r"[-+].*|0+(\.0+)?( ?[A-Za-z]+)?")
_DECIMAL_COMMA = re.compile(r"([0-9]+),([0-9]+)( ?[A-Za-z]+|%)")
_AMBIGUOUS = re.compile(r"[kmgt]i?b?|[kmgt]ig?s|gigs?|megs?|(kilo|mega|giga|tera)(byte|bit)s?")
_DURATION = re.compile(r"(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?")

SIZE_FORMS = "write 12GB (powers of 1000) or 12GiB (powers of 1024)"
BUDGET_FORMS = f"{SIZE_FORMS}, 80% of the device, or free-2GB"
DURATION_FORMS = "write hours, minutes and seconds, for example 90s, 10m or 1h30m"


@dataclass(frozen=True)
class BudgetRequest:
    """A budget as it was asked for, before the device is known."""

    text: str
    kind: Literal["size", "share", "free"]
    #: Bytes for ``size`` and ``free``; millionths of the device for ``share``.
    amount: int

    def resolve(self, total_bytes: int, free_bytes: int) -> int:
        """Turn the request into bytes of a device.

        Raises:
            BadInput: If it is larger than the device, or leaves less than the floor.
        """
        if self.kind == "size":
            budget = self.amount
        elif self.kind == "share":
            budget = total_bytes * self.amount // WHOLE
        else:
            budget = free_bytes - self.amount
        if budget > total_bytes:
            raise BadInput(
                f"{shorten(self.text)} is larger than the device, "
                f"which has {format_both(total_bytes)}",
                hint="ask for less, or for a share such as 90%",
            )
        if budget < FLOOR_BYTES:
            left = format_bytes(budget) if budget > 0 else "nothing"
            raise BadInput(
                f"{shorten(self.text)} leaves {left} of a device with {format_both(total_bytes)}, "
                f"{format_bytes(free_bytes)} of it free: "
                f"the floor is {format_bytes(FLOOR_BYTES)}",
                hint="ask for more, or free the device first",
            )
        return budget


def parse_bytes(text: str) -> int:
    """Read a size such as ``12GB`` or ``11.5 GiB``; a fraction of a byte is dropped.

    Raises:
        BadInput: If it is not a size, or below the floor.
    """
    return _at_least_the_floor(text, SIZE_FORMS)


def split_budgets(text: str) -> tuple[str, ...]:
    """Take a list such as ``8GB,12GB`` apart; ``12,5GB`` is none, and is refused later."""
    if len(text) > LONGEST_TEXT * LONGEST_TEXT or _DECIMAL_COMMA.fullmatch(text):
        return (text,)
    return tuple(part.strip() for part in text.split(","))


def parse_budget(text: str) -> BudgetRequest:
    """Read a budget: a size, a share such as ``80%``, or ``free-2GB``.

    Raises:
        BadInput: If it is none of these.
    """
    if len(text) <= LONGEST_TEXT and text[:5].lower() == "free-":
        return BudgetRequest(text, "free", _size(text[5:], text, BUDGET_FORMS))
    if len(text) <= LONGEST_TEXT and (share := _SHARE.fullmatch(text)):
        return BudgetRequest(text, "share", _share(text, *share.groups(default="")))
    return BudgetRequest(text, "size", _at_least_the_floor(text, BUDGET_FORMS))


def parse_percent(text: str) -> float:
    """Read a share of a hundred, such as ``5%`` or ``2.5%``, as a fraction.

    Raises:
        BadInput: If it is none, or not above 0 % and at most 100 %.
    """
    share = _SHARE.fullmatch(text) if len(text) <= LONGEST_TEXT else None
    if share is None:
        raise BadInput(f"{shorten(text)} is not a percentage", hint="write for example 5%")
    return _share(text, *share.groups(default=""), forms="write for example 5%") / WHOLE


def _share(text: str, whole: str, decimals: str, *, forms: str = BUDGET_FORMS) -> int:
    millionths = int(whole + decimals.ljust(4, "0"))
    if not 0 < millionths <= WHOLE:
        raise BadInput(f"{shorten(text)} is not above 0% and at most 100%", hint=forms)
    return millionths


def _at_least_the_floor(text: str, forms: str) -> int:
    size = _size(text, text, forms)
    if size < FLOOR_BYTES:
        floor = format_bytes(FLOOR_BYTES)
        raise BadInput(f"{shorten(text)} is below the floor of {floor}", hint=forms)
    return size


def _size(text: str, whole_text: str, forms: str) -> int:
    """Read digits, a dot and a unit; refuse the rest with the most useful sentence."""
    value = shorten(whole_text)
    if not text.strip():
        raise BadInput(f"{value} is empty where a size is needed", hint=forms)
    # Not only for looks: the Kelvin sign lower-cases to "k", and full-width digits are digits.
    if len(text) > LONGEST_TEXT or not text.isascii():
        raise BadInput(f"{value} is not a size", hint=forms)
    if _NOT_POSITIVE.fullmatch(text):
        raise BadInput(f"{value} is not a size: it must be positive, without a sign", hint=forms)
    if _BARE.fullmatch(text):
        raise BadInput(f"{value} has no unit", hint=forms)
    if comma := _DECIMAL_COMMA.fullmatch(text):
        raise BadInput(f"{value} has a comma", hint=_comma_hint(*comma.groups()))
    found = _SIZE.fullmatch(text)
    if found is None:
        raise BadInput(f"{value} is not a size", hint=forms)
    whole, decimals, unit = found[1], found[2] or "", found[3]
    # "Gb" is how bits are written; "gb" is how nobody writes bits.
    bits = unit[-1] == "b" and unit[0].isupper()
    if unit.lower() in UNITS and not bits:
        scaled: int = int(whole + decimals) * UNITS[unit.lower()] // 10 ** len(decimals)
        return scaled
    if _AMBIGUOUS.fullmatch(unit.lower()):
        raise BadInput(f"{value} is ambiguous", hint=_both_spellings(whole, decimals, unit))
    raise BadInput(f"{value} has an unknown unit", hint=forms)


def _both_spellings(whole: str, decimals: str, unit: str) -> str:
    number, letter = f"{whole}.{decimals}" if decimals else whole, unit[0].upper()
    decimal = f"{number}{letter.replace('K', 'k')}B"
    return f"write {decimal} (powers of 1000) or {number}{letter}iB (powers of 1024)"


def _comma_hint(whole: str, rest: str, unit: str) -> str:
    dotted = f"write {whole}.{rest}{unit}"
    # Three digits after a comma may be thousands.
    return f"{dotted} or {whole}{rest}{unit}" if len(rest) == 3 else dotted


def default_budget(free_bytes: int) -> int:
    """The budget when none is given: what is free, less a reserve of 512 MiB or 3 %.

    Raises:
        CannotRun: If so little is free that nothing can run.
    """
    budget = free_bytes - max(RESERVE_BYTES, free_bytes * RESERVE_PERCENT // 100)
    if budget < FLOOR_BYTES:
        raise CannotRun(
            f"only {format_bytes(free_bytes)} of the device are free, "
            f"and {format_bytes(RESERVE_BYTES)} are left to the rest of the machine",
            hint="free the device, or name a budget with --vram",
        )
    return budget


def parse_duration(text: str) -> float:
    """Read a duration such as ``90s``, ``10m`` or ``1h30m`` in seconds.

    Raises:
        BadInput: If it is not one, is zero, or is longer than 30 days.
    """
    found = _DURATION.fullmatch(text) if 0 < len(text) <= LONGEST_TEXT else None
    if found is None:
        if text.isascii() and text.isdigit():
            raise BadInput(f"{shorten(text)} has no unit", hint=DURATION_FORMS)
        raise BadInput(f"{shorten(text)} is not a duration", hint=DURATION_FORMS)
    hours, minutes, seconds = (int(part) for part in found.groups(default="0"))
    duration = hours * 3600 + minutes * 60 + seconds
    if not duration:
        raise BadInput(f"{shorten(text)} is not above zero", hint=DURATION_FORMS)
    if duration > LONGEST_S:
        raise BadInput(f"{shorten(text)} is longer than 30 days", hint=DURATION_FORMS)
    return float(duration)


def parse_count(text: str, name: str, most: int = MOST_COUNT, *, least: int = 1) -> int:
    """Read a whole number from ``least`` on, in ASCII digits.

    Args:
        text: What the user wrote.
        name: What is counted, for the message, such as ``--trials``.
        most: The largest.
        least: The smallest.

    Raises:
        BadInput: If it is anything else.
    """
    digits = len(text) <= LONGEST_TEXT and text.isascii() and text.isdigit()
    if not digits or not least <= int(text) <= most:
        raise BadInput(
            f"{shorten(text)} is not a count for {name}",
            hint=f"write a whole number from {least} to {most}, in digits",
        )
    return int(text)


def format_bytes(size: int) -> str:
    """Print a size in powers of 1024: ``11.18 GiB``, ``412 MiB``."""
    if size < 0:
        return f"-{format_bytes(-size)}"
    # The limits are where rounding would print 1024 of the smaller unit.
    if size * 100 >= TIB * 100 - GIB // 2:
        return f"{size / TIB:.2f} TiB"
    if size * 2 >= GIB * 2 - MIB:
        return f"{size / GIB:.2f} GiB"
    if size * 2 >= MIB * 2 - KIB:
        return f"{size / MIB:.0f} MiB"
    return f"{size / KIB:.0f} KiB" if size >= KIB else f"{size} B"


def format_both(size: int) -> str:
    """Print a size both ways, as the user should see a parsed one: ``12 GB (11.18 GiB)``."""
    for unit in ("TB", "GB", "MB", "kB"):
        if size >= UNITS[unit.lower()]:
            number = f"{size / UNITS[unit.lower()]:.2f}".rstrip("0").rstrip(".")
            return f"{number} {unit} ({format_bytes(size)})"
    return format_bytes(size)


def format_duration(seconds: float) -> str:
    """Print a finite duration: ``0.412 s``, ``12.3 s``, ``2 min 05 s``, ``1 h 02 min``."""
    if seconds < 0:
        return f"-{format_duration(-seconds)}"
    # The limits are where rounding would print the next larger number of digits.
    for limit, digits in ((0.9995, 3), (9.995, 2), (59.95, 1)):
        if seconds < limit:
            return f"{seconds:.{digits}f} s"
    if round(seconds) < 3600:
        return f"{round(seconds) // 60} min {round(seconds) % 60:02d} s"
    return f"{round(seconds / 60) // 60} h {round(seconds / 60) % 60:02d} min"


def format_ratio(ratio: float) -> str:
    """Print a speed-up: ``1.84×``."""
    return f"{ratio:.2f}×"
