"""The camera: a process that films one NVIDIA card until its input closes (rules M11, M16, M18).

    python -m autotune.probe.camera UUID FILE

It writes lines as ``film.py`` reads them. It ends with the study whatever ends that, also while
the driver hangs: its input is read by a thread of its own.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autotune.errors import CannotRun
from autotune.probe import nvml
from autotune.probe.film import BEAT_S, OLD

#: Between two looks: a little more than 20 a second (M16). What takes the driver longer to say,
#: or changes slowly, is asked twice a second.
PERIOD_S, SLOW_PERIOD_S = 0.04, 0.5
_QUICK: tuple[str, ...] = ("used_bytes", "utilisation", "sm_clock_mhz", "event_reasons")
_SLOW = ("processes", "temperature_c", "power_limit_w")
_ONCE = ("default_clock_mhz", "max_clock_mhz")
#: About two days of an idle card, or two hours in which every frame differs; twice that is kept.
MOST_BYTES = 16 << 20


def film(uuid: str, path: Path, most_bytes: int = MOST_BYTES) -> None:
    """Film the card for ever; a card that cannot be filmed is the last line."""
    with path.open("w", buffering=1) as file:
        tape = _Tape(path, file, most_bytes)
        try:
            with nvml.session():
                _roll(uuid, tape)
        except CannotRun as error:
            kind = "lost" if getattr(error, "lost", False) else "ended"
            tape.write({kind: error.message, "hint": error.hint})


class _Tape:
    """A file of lines that is put aside when it is full."""

    def __init__(self, path: Path, file: Any, most_bytes: int) -> None:
        self._path, self._file, self._most_bytes = path, file, most_bytes
        self._written = 0

    def write(self, line: Mapping[str, object]) -> None:
        text = json.dumps(line, separators=(",", ":")) + "\n"
        if self._written + len(text) > self._most_bytes:
            self._file.close()
            os.replace(self._path, f"{self._path}{OLD}")
            self._file = self._path.open("w", buffering=1)
            self._written = 0
        self._file.write(text)
        self._written += len(text)


def _roll(uuid: str, tape: _Tape) -> None:
    reading = nvml.Reading(index=-1)
    card = nvml.Watched(uuid, reading)
    tape.write(card.look(_ONCE))
    last: dict[str, float | None] = {}
    explained: set[str] = set()
    beat_s = slow_s = next_s = time.monotonic()
    while True:
        at_s = time.monotonic()
        names = _QUICK
        if at_s >= slow_s:
            names, slow_s = (*_QUICK, *_SLOW), at_s + SLOW_PERIOD_S
        seen = card.look(names)
        changed: dict[str, object] = {
            name: seen.get(name) for name in names if last.get(name) != seen.get(name)
        }
        last |= {name: seen.get(name) for name in names}
        if news := {name: why for name, why in reading.unknown.items() if name not in explained}:
            explained |= news.keys()
            changed["unknown"] = news
        if changed or at_s >= beat_s:
            tape.write({"at_s": round(at_s, 4), **changed})
            beat_s = at_s + BEAT_S
        next_s = max(next_s + PERIOD_S, at_s)
        time.sleep(max(0.0, next_s - time.monotonic()))


def _end_with_input() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os._exit(0)  # the main thread may never come back from the driver


def main() -> None:
    """Film the card that the first argument names into the file that the second names."""
    threading.Thread(target=_end_with_input, daemon=True).start()
    film(sys.argv[1], Path(sys.argv[2]))


if __name__ == "__main__":
    main()
