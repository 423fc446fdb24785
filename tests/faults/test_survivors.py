"""What a session of tests leaves behind is found: the check at its end can fail."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

from tests.survivors import MARK, survivors


def test_a_process_a_lock_and_a_file_are_found_and_nothing_else(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    for folder in (temporary, tmp_path / "locks", temporary / "pytest-of-ann"):
        folder.mkdir()
    assert list(survivors(tmp_path, temporary)) == []
    (temporary / "autotune-left").touch()
    lock = tmp_path / "locks" / "cpu.lock"
    env = os.environ | {MARK: str(tmp_path)}
    with lock.open("w") as held, subprocess.Popen(["sleep", "60"], env=env) as left:
        fcntl.flock(held, fcntl.LOCK_EX)
        found = list(survivors(tmp_path, temporary))
        left.kill()
    assert found == [
        f"process {left.pid}: sleep 60",
        "a lock that is held: cpu.lock",
        "a temporary file: autotune-left",
    ]
    assert list(survivors(tmp_path, temporary)) == found[2:]
