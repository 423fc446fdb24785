"""Reading the small text files of /proc and /sys, any of which may be missing or odd."""

from __future__ import annotations

from pathlib import Path

#: /proc/cpuinfo of the largest machines has some 500 kB; nothing here is longer.
_MOST_BYTES = 4 * 2**20


def read_text(path: Path) -> str | None:
    """The text of a file without surrounding blanks, or ``None`` if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES).decode("utf-8", "replace").strip()
    except (OSError, ValueError):  # ValueError: a NUL in a path taken from another file
        return None


def read_number(path: Path) -> int | None:
    """The whole number that is the content of a file, or ``None`` if it is anything else."""
    return to_number(read_text(path))


def to_number(text: str | None) -> int | None:
    """Parse plain decimal digits; ``None`` for anything else, and for absurd lengths."""
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > 20:
        return None
    return int(text)
