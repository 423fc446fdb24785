"""Run one job in a cold process: ``python -m autotune.trial FOLDER [trial|inspect [PARENT]]``."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import NoReturn

_PR_SET_PDEATHSIG = 1
#: Of at most 1000; ordinary processes have 0.
_OOM_SCORE = "800"


def run_job(folder: Path, job: str) -> None:
    """Run the job whose request lies in the folder."""
    folder = folder.absolute()  # a library may go to another one
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


def report(error: BaseException) -> int:
    """Log an error; returns the exit status, which says what kept the outcome from being written.

    On a full disk there is nowhere to log it.
    """
    from autotune.files import is_full
    from autotune.trial.wire import DEEPEST, NO_SPACE

    with contextlib.suppress(OSError):
        traceback.print_exception(error, limit=DEEPEST)
    return NO_SPACE if is_full(error) else 1


def leave(code: int) -> NoReturn:
    """End this process. Libraries leave threads behind that block a normal exit."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


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
    except BaseException as error:
        code = report(error)
    finally:
        leave(code)


if __name__ == "__main__":
    main()
