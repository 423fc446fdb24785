"""The folder of a study: a new one, or that of an interrupted study to go on with (design D8).

``study.json`` says what was asked and where; as long as it does not say that the study ended, the
same command goes on with it. Whoever runs a study holds a lock on it, so that of two coordinators
the second one starts a study of its own.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import JsonValue, ValidationError

from autotune.errors import AutotuneError, BadInput
from autotune.files import read_capped, write_atomic
from autotune.probe.fingerprint import compare
from autotune.records import Fingerprint, Record

if TYPE_CHECKING:
    from autotune.search.request import Request

STUDY, _LOCK = "study.json", "study.lock"
#: What was asked: workload, search space, pins.
_CAP_BYTES = 1 << 20
_MOST_RUNS = 10_000
#: The budget that nobody asked for.
_FREE = "what is free"


class Study(Record):
    """What was asked, in plain values that are equal when the question is; and on what.

    ``budgets_bytes`` are as they were understood, by how they were asked for, since what is free
    changes. So are ``starts``, what recipes of a book chose, since books change.
    """

    format: Literal[1] = 1
    kind: Literal["study"] = "study"
    asked: Mapping[str, JsonValue]
    budgets_bytes: Mapping[str, int]
    starts: Mapping[str, tuple[Mapping[str, str], ...]] = {}
    fingerprint: Fingerprint
    ended: bool = False


def study_of(
    requests: Sequence[Request], ram: str | None, book: str | Literal[False] | None = None
) -> Study:
    """What decides which trials a study runs and how they end.

    Args:
        requests: One for each budget.
        ram: Host memory as it was asked for.
        book: Which book it starts from: one by its place, the default, or none.
    """
    first = requests[0]
    model = first.model
    return Study(
        asked={
            "model": [model.id, model.revision, model.weights],
            "given": [[one.component, one.digest] for one in model.given],
            "workload": model.workload.model_dump(mode="json"),
            "device": first.device.uuid,
            "budgets": list[JsonValue](sorted(budgets_of(requests))),
            "ram": ram,
            "book": book,
            "space": first.definition.model_dump(mode="json"),
            "quality": first.quality,
            "pins": dict(first.pins),
            "sampler": first.sampler,
            "exhaustive": first.exhaustive,
            "seed": first.seed,
            "against": first.against,
            "objective": str(first.objective),
            "effort": first.efforts.name,
        },
        budgets_bytes=budgets_of(requests),
        starts={one.vram or _FREE: one.starts for one in requests if one.starts},
        fingerprint=first.fingerprint,
    )


def budgets_of(requests: Sequence[Request]) -> dict[str, int]:
    """The budgets by how they were asked for."""
    return {one.vram or _FREE: one.budget_bytes for one in requests}


@dataclass(kw_only=True)
class StudyFolder:
    """Where a study writes; it is its coordinator's until it is released, or that process ends.

    ``resumed`` says that an interrupted study is gone on with, ``left`` why one is not.
    """

    path: Path
    study: Study
    resumed: bool
    left: tuple[str, ...]
    _lock: int

    def release(self) -> None:
        """Let others go on with the study."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __del__(self) -> None:
        self.release()

    def budget(self, vram: str | None) -> int:
        """A budget as it was understood when the study began."""
        return self.study.budgets_bytes[vram or _FREE]

    def starts(self, vram: str | None) -> tuple[Mapping[str, str], ...]:
        """What was taken from a book for a budget when the study began."""
        return self.study.starts.get(vram or _FREE, ())

    def note(self, **changes: object) -> None:
        """Note what changed: that it ``ended``, or other ``budgets_bytes``."""
        self.study = self.study.but(**changes)
        _write(self.path, self.study)


def open_folder(runs: Path, name: str, study: Study, *, restart: bool) -> StudyFolder:
    """Find the interrupted study that asked the same here, or make a folder for a new one.

    Args:
        runs: Where folders are.
        name: Of a new folder, which gets a number if it is taken.
        study: What is asked.
        restart: Leave an interrupted study alone.

    Raises:
        BadInput: If no folder can be made.
    """
    left: list[str] = []
    for path, found in () if restart else _interrupted(runs, study):
        differences = tuple(compare(found.fingerprint, study.fingerprint))
        if differences:
            changed = ", ".join(f"{d.field} was {d.recorded}, is {d.here}" for d in differences)
            left.append(f"the interrupted study in {path} is not continued: {changed}")
            continue
        lock = _claim(path)
        if lock is not None:
            return StudyFolder(path=path, study=found, resumed=True, left=(), _lock=lock)
    path = new_folder(runs, name)
    _write(path, study)
    lock = _claim(path)
    if lock is None:
        raise BadInput(f"another process took {path}", hint="run the command again")
    return StudyFolder(path=path, study=study, resumed=False, left=tuple(left), _lock=lock)


def _interrupted(runs: Path, study: Study) -> Iterator[tuple[Path, Study]]:
    """Studies that asked the same and did not end, the newest first."""
    found = []
    for path in runs.glob(f"*/{STUDY}"):
        try:
            one = Study.model_validate_json(read_capped(path, _CAP_BYTES))
            when = path.stat().st_mtime
        except (ValidationError, AutotuneError, OSError):
            continue  # somebody else's, or of another version
        if not one.ended and one.asked == study.asked:
            found.append((when, path.parent, one))
    for _, folder, one in sorted(found, key=lambda each: each[0], reverse=True):
        yield folder, one


def _claim(folder: Path) -> int | None:
    """Hold the study, or ``None`` where another coordinator does."""
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def _write(folder: Path, study: Study) -> None:
    write_atomic(folder / STUDY, study.model_dump_json().encode(), overwrite=True)


def new_folder(runs: Path, name: str) -> Path:
    """A folder that nobody had; earlier ones are left alone."""
    for number in range(1, _MOST_RUNS):
        folder = runs / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if runs.exists() and not runs.is_dir():
                raise BadInput(f"{runs} is a file, not a folder", hint="--runs FOLDER") from None
            continue
        except OSError as error:
            raise BadInput(
                f"no run folder can be made in {runs}: {error.strerror}", hint="--runs FOLDER"
            ) from None
        return folder
    raise BadInput(f"{runs} holds {_MOST_RUNS} runs of {name}", hint="--runs FOLDER")
