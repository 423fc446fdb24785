"""The folder of a study: a new one, or that of an interrupted study to go on with (design D8).

``study.json`` says what was asked and where; as long as it does not say that the study ended, the
same command goes on with it, and is answered by it from then on (`answered`). Whoever runs a study
holds a lock on it: a second coordinator is told who that is (fault matrix C4).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import JsonValue

from autotune.errors import AutotuneError, BadInput, CannotRun, shorten
from autotune.files import PRIVATE, make_folder, make_private, write_atomic
from autotune.holder import holder_of, note_holder
from autotune.probe.fingerprint import compare
from autotune.records import Fingerprint, Record
from autotune.stored import read_stored

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
    changes. So are ``starts``, what recipes of a book chose, since books change. Of a study that
    ended, ``trials`` says how many were asked for, and ``recipes`` where what came of each budget
    lies, seen from the study's folder.
    """

    format: Literal[1] = 1
    kind: Literal["study"] = "study"
    asked: Mapping[str, JsonValue]
    budgets_bytes: Mapping[str, int]
    starts: Mapping[str, tuple[Mapping[str, str], ...]] = {}
    fingerprint: Fingerprint
    ended: bool = False
    trials: int = 0
    recipes: Mapping[str, str] = {}

    def budget(self, vram: str | None) -> int:
        """A budget as it was understood when the study began."""
        return self.budgets_bytes[vram or _FREE]


def runs_folder(runs: str | Path) -> Path:
    """Check the folder of run folders, whose name stands in what trials are sent.

    Raises:
        BadInput: If it is empty, or no text.
    """
    path = Path(runs)
    try:
        str(path.absolute()).encode("utf-8")
    except UnicodeEncodeError:
        raise BadInput(
            f"the folder {shorten(str(runs))} is not valid Unicode", hint="--runs FOLDER"
        ) from None
    if not str(runs) or (os.path.lexists(path) and not os.path.isdir(path)):
        raise BadInput(f"{shorten(str(runs))} is not a folder", hint="--runs FOLDER")
    return path


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
        return self.study.budget(vram)

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
        CannotRun: If another process runs this very study.
    """
    make_folder(runs)  # before it is looked into
    left: list[str] = []
    for path, found in () if restart else _same(runs, study, ended=False):
        changed = ", ".join(_changes(found, study))
        if changed:
            left.append(f"the interrupted study in {path} is not continued: {changed}")
            continue
        lock = _claim(path)
        if lock is None:
            raise CannotRun(
                f"another autotune{holder_of(path / _LOCK)} runs this study, in {path}",
                hint="wait until it has ended, or begin another study beside it with --restart",
            )
        return StudyFolder(path=path, study=found, resumed=True, left=(), _lock=lock)
    path = new_folder(runs, name)
    _write(path, study)
    lock = _claim(path)
    if lock is None:
        raise BadInput(f"another process took {shorten(str(path))}", hint="run the command again")
    return StudyFolder(path=path, study=study, resumed=False, left=tuple(left), _lock=lock)


def ended_studies(runs: Path, study: Study) -> Iterator[tuple[Path, Study]]:
    """Studies that asked the same on the same machine and ended, the newest first."""
    make_folder(runs)  # before it is looked into
    for path, found in _same(runs, study, ended=True):
        if not any(_changes(found, study)):
            yield path, found


def _same(runs: Path, study: Study, *, ended: bool) -> Iterator[tuple[Path, Study]]:
    """Studies that asked the same, perhaps of another space, and ended or not; newest first."""
    found = []
    for path in runs.glob(f"*/{STUDY}"):
        try:
            one = read_stored(path, Study, cap_bytes=_CAP_BYTES)
            when = path.stat().st_mtime
        except (AutotuneError, OSError):
            continue  # somebody else's, or of another version
        alike = {**one.asked, "space": None} == {**study.asked, "space": None}
        if one.ended is ended and alike:
            found.append((when, path.parent, one))
    for _, folder, one in sorted(found, key=lambda each: each[0], reverse=True):
        yield folder, one


def _changes(found: Study, study: Study) -> Iterator[str]:
    """What is not as it was when a study began, with both values (fault matrix C11)."""
    for one in compare(found.fingerprint, study.fingerprint):
        yield f"{one.field} was {one.recorded}, is {one.here}"
    before, now = found.asked["space"], study.asked["space"]
    if before == now:
        return
    yield "the search space was another one"
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        old, new = before.get("levers"), now.get("levers")
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            for lever in dict.fromkeys([*old, *new]):
                if old.get(lever) != new.get(lever):
                    yield f"{lever} was {_listed(old.get(lever))}, is {_listed(new.get(lever))}"


def _listed(wanted: JsonValue) -> str:
    """What a space has of a lever, in words."""
    if isinstance(wanted, list):
        return f"[{', '.join(map(str, wanted))}]"
    return "absent" if wanted is None else str(wanted)


def _claim(folder: Path) -> int | None:
    """Hold the study, or ``None`` where another coordinator does."""
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    note_holder(lock)
    return lock


def _write(folder: Path, study: Study) -> None:
    data = study.model_dump_json().encode()
    write_atomic(folder / STUDY, data, overwrite=True, mode=PRIVATE)


def new_folder(runs: Path, name: str) -> Path:
    """A folder that nobody had, for its user alone; earlier ones are left alone."""
    make_folder(runs)
    for number in range(1, _MOST_RUNS):
        folder = runs / (name if number == 1 else f"{name}-{number}")
        try:
            make_private(folder)
        except FileExistsError:
            continue
        except BadInput as error:
            raise BadInput(
                f"no run folder can be made in {shorten(str(runs))}: {error.message}",
                hint="--runs FOLDER",
            ) from None
        return folder
    raise BadInput(f"{shorten(str(runs))} holds {_MOST_RUNS} runs of {name}", hint="--runs FOLDER")
