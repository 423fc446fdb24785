"""Run one job in a cold process: ``python -m autotune.trial FOLDER [trial|inspect]``."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def run_job(folder: Path, job: str) -> None:
    """Run the job whose request lies in the folder."""
    if job == "inspect":
        from autotune.trial.inspect import inspect_folder

        inspect_folder(folder)
    else:
        from autotune.trial.run import run_folder

        run_folder(folder)


if __name__ == "__main__":
    run_job(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "trial")
    sys.stdout.flush()
    sys.stderr.flush()
    # Libraries leave threads behind that block a normal exit; the result is on disk.
    os._exit(0)
