"""The film of a card: what NVML showed of it, many times a second, and how to read it.

A process of its own makes it (``camera.py``), as a JSON line whenever something changed, so that
a driver that hangs stops the film and not the study.
"""

from __future__ import annotations

import json
import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

#: A line comes at least so often, changed or not.
BEAT_S = 0.25
#: A film without a line for so long has stopped: what was seen last holds no more.
STOPPED_S = 1.0
#: The name under which lines that fill a file are put aside, once.
OLD = ".old"
#: From this on a card counts as working; NVML's figure lags by up to a second.
BUSY = 0.5


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One look at the card; what it does not tell is ``None``. Times are ``time.monotonic``."""

    at_s: float
    used_bytes: int | None = None
    utilisation: float | None = None
    processes: int | None = None
    sm_clock_mhz: int | None = None
    event_reasons: int | None = None
    temperature_c: int | None = None
    power_limit_w: float | None = None

    @property
    def is_busy(self) -> bool:
        """Whether the card is known to work."""
        return self.utilisation is not None and self.utilisation >= BUSY


@dataclass(kw_only=True)
class Film:
    """The frames so far, in order, and what is known of the card as a whole.

    ``lost`` says why no trial can run on it any more, ``ended`` why the film goes on no more,
    ``hint`` what to do. ``fastest_mhz`` is the highest clock that was seen while it worked.
    """

    frames: list[Frame] = field(default_factory=list)
    default_clock_mhz: int | None = None
    max_clock_mhz: int | None = None
    fastest_mhz: int | None = None
    unknown: dict[str, str] = field(default_factory=dict)
    lost: str | None = None
    ended: str | None = None
    hint: str | None = None

    def add(self, line: Mapping[str, Any]) -> None:
        """Take in one line: what it does not name is as it was."""
        facts = dict(line)
        self.unknown |= facts.pop("unknown", {})
        for name in ("default_clock_mhz", "max_clock_mhz", "lost", "ended", "hint"):
            if name in facts:
                setattr(self, name, facts.pop(name))
        if "at_s" not in facts:
            return
        frame = replace(self.frames[-1], **facts) if self.frames else Frame(**facts)
        self.frames.append(frame)
        if frame.is_busy and frame.sm_clock_mhz is not None:
            self.fastest_mhz = max(frame.sm_clock_mhz, self.fastest_mhz or 0)

    def at(self, moment_s: float) -> Frame | None:
        """The last frame until then."""
        index = bisect_right(self.frames, moment_s, key=lambda frame: frame.at_s)
        return self.frames[index - 1] if index else None

    def between(self, start_s: float, end_s: float) -> list[Frame]:
        """The frames after one moment and until another."""
        first = bisect_right(self.frames, start_s, key=lambda frame: frame.at_s)
        return self.frames[first : bisect_right(self.frames, end_s, key=lambda frame: frame.at_s)]

    def lasting(self, start_s: float, end_s: float) -> list[tuple[Frame, float]]:
        """The frames that held between them, each with its seconds there."""
        first = self.at(start_s)
        frames = [*([first] if first else []), *self.between(start_s, end_s)]
        ends = [frame.at_s for frame in frames[1:]] + [end_s]
        return [
            (frame, max(0.0, min(next_s, frame.at_s + STOPPED_S) - max(frame.at_s, start_s)))
            for frame, next_s in zip(frames, ends, strict=False)
        ]

    def peak(self, start_s: float, end_s: float) -> Frame | None:
        """The frame with the most bytes used."""
        frames = [one for one in self.between(start_s, end_s) if one.used_bytes is not None]
        return max(frames, key=lambda frame: frame.used_bytes or 0, default=None)

    def forget(self, before_s: float) -> None:
        """Drop the frames before then, but the last of them, which still held."""
        last = bisect_right(self.frames, before_s, key=lambda frame: frame.at_s) - 1
        del self.frames[: max(0, last)]


class FilmFile:
    """Follows the file that a camera writes."""

    def __init__(self, path: Path) -> None:
        self.film = Film()
        self._path = path
        self._file: IO[bytes] | None = None
        self._unread = b""

    def read(self) -> Film:
        """Take in what was written since the last time."""
        while self._file is not None or self._open():
            assert self._file is not None
            # Asked first: once it is put aside nothing more is written to it.
            put_aside = not self._is_current()
            self._take(self._file.read())
            if not put_aside:
                break
            self.close()
        return self.film

    def close(self) -> None:
        """Close the file; another ``read`` opens it again, at its beginning."""
        if self._file is not None:
            self._file.close()
        self._file, self._unread = None, b""

    def _open(self) -> bool:
        try:
            self._file = self._path.open("rb")
        except OSError:
            return False
        return True

    def _is_current(self) -> bool:
        assert self._file is not None
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
        except OSError:
            return True

    def _take(self, data: bytes) -> None:
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in _readable(lines):
            self.film.add(line)


def _readable(lines: list[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):  # the disk was full in the middle of it
            continue
        if isinstance(found, dict):
            yield found
