"""What trials print, kept within bounds: a log that would fill the disk loses its middle."""

from __future__ import annotations

import os
from pathlib import Path

#: The most that is kept of a log, and how much of that is its head (fault matrix T21). Warnings of
#: libraries come first, what ended a trial comes last.
MOST_BYTES, _HEAD_BYTES = 10 << 20, 4 << 20
_TAIL_BYTES = MOST_BYTES - _HEAD_BYTES - 1024


def cap_log(path: Path) -> None:
    """Leave out the middle of a log that is too long; it may be written to meanwhile.

    What is printed while the end is read may be lost: it is part of a flood.
    """
    try:
        with path.open("r+b") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= MOST_BYTES:
                return
            file.seek(size - _TAIL_BYTES)
            tail = file.read(_TAIL_BYTES)
            file.truncate(_HEAD_BYTES)
        with path.open("ab") as file:  # the trial appends too
            left_out = size - _HEAD_BYTES - len(tail)
            file.write(b"\n[%d bytes are left out here]\n" % left_out + tail)
    except OSError:
        return  # the trial may have removed it
