"""What a session of tests must not leave behind: processes, held locks, temporary files.

``pytest --leave-nothing`` looks for them at its end, and fails if there are any.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

#: What every process that a test starts has in its environment, with a value of this session's.
MARK = "AUTOTUNE_CACHE"
#: What pytest keeps of its last three runs, and a cache of torch's own that it makes in any case.
_KEPT = ("pytest-of-", "torchinductor_")


def survivors(cache: Path, temporary: Path) -> Iterator[str]:
    """Everything that is left, in words.

    Args:
        cache: The session's own, whose path its processes carry.
        temporary: The session's own folder for temporary files.
    """
    for process in psutil.process_iter():
        try:
            ours = process.environ().get(MARK, "").startswith(str(cache))
            if ours and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                yield f"process {process.pid}: {' '.join(process.cmdline())[:200]}"
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    for lock in sorted(cache.glob("locks/*.lock")):
        with lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield f"a lock that is held: {lock.name}"
    for path in sorted(temporary.iterdir()):
        if not path.name.startswith(_KEPT):
            yield f"a temporary file: {path.name}"
