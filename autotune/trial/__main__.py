"""Run one job in a cold process: ``python -m autotune.trial FOLDER [trial|inspect [PARENT]]``."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
import traceback
from pathlib import Path

_PR_SET_PDEATHSIG = 1
#: Of at most 1000; ordinary processes have 0.
_OOM_SCORE = "800"


def run_job(folder: Path, job: str) -> None:
    """Run the job whose request lies in the folder."""
    if job == "inspect":
        from autotune.trial.inspect import inspect_folder

        inspect_folder(folder)
    else:
        from autotune.trial.run import run_folder

        run_folder(folder)


def die_with(parent: int) -> None:
    """Ask the kernel to kill this process when its parent dies (Linux only)."""
    process_control(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def process_control(option: int, value: int) -> None:
    """Call prctl(2), where there is one."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


def first_to_go() -> None:
    """Ask the kernel to end this process before the coordinator when memory runs out."""
    try:
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
    except OSError:
        pass  # not Linux, or not allowed: then the kernel chooses


def main() -> None:
    """Run the job of the command line and leave, whatever it leaves behind."""
    code = 1
    faulthandler.enable()
    first_to_go()
    try:
        if len(sys.argv) > 3:
            die_with(int(sys.argv[3]))
        run_job(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "trial")
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Libraries leave threads behind that block a normal exit; the result is on disk.
        os._exit(code)


if __name__ == "__main__":
    main()
