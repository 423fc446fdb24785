"""Room on the disk: looked at before each trial, and kept for a study's last words (C12)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autotune.errors import CannotRun, shorten
from autotune.units import format_bytes

#: A trial's log is cut at 10 MiB; beside it lie pictures, of four megapixels at the most 12 MiB
#: each where PNG gains nothing, and four of them are kept.
_TRIAL_BYTES = 64 << 20
#: A recipe, its tables and study.json take 300 KB.
_RESERVE_BYTES, _RESERVE = 1 << 20, ".reserve"


def check_room(folder: Path) -> None:
    """See that a trial can write what it may have to.

    Raises:
        CannotRun: If it could not.
    """
    place = folder.absolute()
    try:
        while not place.exists() and place != place.parent:
            place = place.parent
        free = shutil.disk_usage(place).free
    except (OSError, ValueError):
        return  # whoever writes there will be told
    if free < _TRIAL_BYTES:
        raise CannotRun(
            f"no space left in {shorten(str(folder), 200)}: {format_bytes(free)} are free, and a "
            f"trial may write {format_bytes(_TRIAL_BYTES)}",
            hint="free some space; the same command then goes on with this study",
        )


@contextmanager
def reserve(folder: Path) -> Iterator[None]:
    """Take some space, and give it back at the end: whoever fills the disk does not get it."""
    path = folder / _RESERVE
    try:
        path.write_bytes(bytes(_RESERVE_BYTES))
    except OSError:
        path.unlink(missing_ok=True)  # then a study has to do without
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
