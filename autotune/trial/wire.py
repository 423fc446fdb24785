"""What goes into and comes out of a trial's folder: JSON, written whole or not at all (D4)."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from autotune.errors import AutotuneError
from autotune.files import read_capped, write_atomic
from autotune.records import Outcome, Record

SPEC = "spec.json"
OUTCOME = "outcome.json"
INSPECTION = "inspection.json"
PROGRESS = "progress.jsonl"
LOG = "log.txt"
PICTURE = "picture.png"
#: The exit status of a process that could not write (EX_IOERR of sysexits.h).
NO_SPACE = 74
#: The innermost frames of an error that are logged: a recursion that ran wild has millions.
DEEPEST = -40

#: The largest outcome is a few hundred samples and a dozen pieces of evidence: 30 KB.
_CAP_BYTES = 4 << 20

RecordType = TypeVar("RecordType", bound=Record)


def write_record(folder: Path, name: str, record: Record) -> None:
    """Write a record as JSON by rename; an earlier one is replaced."""
    write_atomic(folder / name, record.model_dump_json().encode(), overwrite=True)


def read_record(folder: Path, name: str, kind: type[RecordType]) -> RecordType:
    """Read a record back, strictly.

    Raises:
        ValueError: If the file is missing, too large, or not that record.
    """
    try:
        return kind.model_validate_json(read_capped(folder / name, _CAP_BYTES))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        raise ValueError(f"{name}: {where or 'content'}: {first['msg']}") from None
    except (AutotuneError, OSError) as error:
        raise ValueError(f"{name}: {error}") from None


def read_outcome(folder: Path, trial: str) -> Outcome:
    """Read the outcome of this trial and no other.

    Raises:
        ValueError: If it is missing, unreadable, or belongs to another trial.
    """
    outcome = read_record(folder, OUTCOME, Outcome)
    if outcome.trial != trial:
        raise ValueError(f"{OUTCOME}: belongs to trial {outcome.trial}, not {trial}")
    return outcome


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
