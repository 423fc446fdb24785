"""What trials print, kept within bounds: a log that would fill the disk loses its middle."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

#: The most that is kept of a log, and how much of that is its head (fault matrix T21). Warnings of
#: libraries come first, what ended a trial comes last.
MOST_BYTES, _HEAD_BYTES = 10 << 20, 4 << 20
#: Less a block of a file system: what is in part within a range is not freed.
_TAIL_BYTES = MOST_BYTES - _HEAD_BYTES - (128 << 10)
#: Of fallocate(2): free the blocks of a range and leave the file's size as it is.
_PUNCH_HOLE = 0x1 | 0x2
_BLOCK_BYTES = 512


def relieve_disk(path: Path) -> None:
    """Give back what the middle of a log takes of the disk, while it is being written.

    Whoever appends to it notices nothing. Where the file system cannot, the disk gets it back when
    the log is cut.
    """
    try:
        with path.open("r+b") as file:
            status = os.fstat(file.fileno())
            if status.st_blocks * _BLOCK_BYTES > MOST_BYTES:
                _punch(file.fileno(), _HEAD_BYTES, status.st_size - _HEAD_BYTES - _TAIL_BYTES)
    except OSError:
        return  # the trial may have removed it, or not made it yet


def cut_log(path: Path) -> None:
    """Leave out the middle of a log that is too long and written no more."""
    try:
        with path.open("r+b") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= MOST_BYTES:
                return
            file.seek(size - _TAIL_BYTES)
            tail = file.read(_TAIL_BYTES)
            file.truncate(_HEAD_BYTES)
            file.seek(_HEAD_BYTES)
            left_out = size - _HEAD_BYTES - len(tail)
            file.write(b"\n[%d bytes are left out here]\n" % left_out + tail)
    except OSError:
        return


def _punch(descriptor: int, start: int, length: int) -> None:
    fallocate = getattr(ctypes.CDLL(None), "fallocate", None)  # Linux only
    if fallocate is not None and length > 0:
        fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long)
        fallocate(descriptor, _PUNCH_HOLE, start, length)
