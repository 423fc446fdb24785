"""What goes into and comes out of a trial's folder: JSON, written whole or not at all (D4)."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from autotune.errors import AutotuneError
from autotune.files import PRIVATE, read_capped, write_atomic
from autotune.records import Outcome, Record
from autotune.stored import read_stored

SPEC = "spec.json"
OUTCOME = "outcome.json"
INSPECTION = "inspection.json"
PROGRESS = "progress.jsonl"
LOG = "log.txt"
PICTURE = "picture.png"
#: Lies there as long as an outcome is not yet held against what was filmed meanwhile.
UNJUDGED = "unjudged"
#: The exit status of a process that could not write (EX_IOERR of sysexits.h).
NO_SPACE = 74
#: The innermost frames of an error that are logged: a recursion that ran wild has millions.
DEEPEST = -40

#: The largest outcome is a few hundred samples and a dozen pieces of evidence: 30 KB.
_CAP_BYTES = 4 << 20

RecordType = TypeVar("RecordType", bound=Record)


def write_record(folder: Path, name: str, record: Record) -> None:
    """Write a record as JSON by rename; an earlier one is replaced."""
    data = record.model_dump_json().encode()
    write_atomic(folder / name, data, overwrite=True, mode=PRIVATE)


def read_record(folder: Path, name: str, kind: type[RecordType]) -> RecordType:
    """Read a record back, strictly.

    Raises:
        ValueError: If the file is missing, too large, or not that record.
    """
    try:
        return read_stored(folder / name, kind, cap_bytes=_CAP_BYTES)
    except AutotuneError as error:
        raise ValueError(error.message) from None


def read_outcome(folder: Path, trial: str) -> Outcome:
    """Read the outcome of this trial and no other.

    Raises:
        ValueError: If it is missing, unreadable, or belongs to another trial.
    """
    outcome = read_record(folder, OUTCOME, Outcome)
    if outcome.trial != trial:
        raise ValueError(f"{OUTCOME}: belongs to trial {outcome.trial}, not {trial}")
    return outcome


def longest_silence(folder: Path) -> float | None:
    """The most seconds between two words of a trial about where it is; ``None`` if unknown."""
    try:
        lines = read_capped(folder / PROGRESS, _CAP_BYTES).splitlines()
        times = [float(json.loads(line)["at"]) for line in lines]
    except (AutotuneError, OSError, ValueError, LookupError, TypeError):
        return None
    return max((later - sooner for sooner, later in pairwise(times)), default=None)


class Progress:
    """Says where a trial is, one JSON line a step. Nothing but display depends on it."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / PROGRESS).open("a", buffering=1)
        self.stage = "start"

    def say(self, stage: str, **facts: int | float | str) -> None:
        """Append a line with the system-wide monotonic time."""
        self.stage = stage
        line = {"stage": stage, "at": time.monotonic(), **facts}
        self._file.write(json.dumps(line) + "\n")
