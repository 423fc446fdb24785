"""Reads the records that this program wrote for itself: as strictly as what others wrote.

A folder of a study may be copied, cut short or written to by somebody else, so what lies there is
one JSON document without keys that stand twice, numbers that are none or text that is no text,
and bounded in size, depth and length, before a record is made of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from autotune.errors import BadInput, one_line
from autotune.files import read_capped
from autotune.records import Record
from autotune.strict_json import parse_json

#: The deepest record is the outcome of an inspection, with 9 levels.
MOST_DEPTH = 32
#: Of a trial's last words, and of the reasons of levers.
LONGEST_STRING = 65_536
#: No more fit into the largest file that is read.
MOST_ENTRIES = 1_000_000

Stored = TypeVar("Stored", bound=Record)


def read_stored(path: Path, kind: type[Stored], *, cap_bytes: int) -> Stored:
    """Read a record from a regular file.

    Raises:
        BadInput: If the file is missing, closed, larger, or anything but that record.
        CannotRun: If the disk fails.
    """
    return parse_stored(read_capped(path, cap_bytes), kind, what=path.name)


def parse_stored(data: bytes, kind: type[Stored], *, what: str) -> Stored:
    """Read a record from bytes.

    Args:
        data: At most as many as whoever calls this has room for.
        kind: Which record.
        what: What it is called in messages.

    Raises:
        BadInput: If it is anything else.
    """
    parse_json(
        data,
        what=what,
        max_depth=MOST_DEPTH,
        max_string=LONGEST_STRING,
        max_list=MOST_ENTRIES,
    )
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = one_line(".".join(str(step) for step in first["loc"]))
        raise BadInput(
            f"{what}: {where or 'content'}: {one_line(first['msg'])}",
            hint="autotune writes such files, and reads them as it wrote them",
        ) from None
