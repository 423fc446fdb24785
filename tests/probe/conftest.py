"""Ways to run the probe in a process that loads the compiled NVML.

pynvml finds the library through the loader, which reads its path only when a process starts.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

Probe = Callable[..., Any]


@pytest.fixture
def run() -> Callable[..., Any]:
    def run(code: str, env: dict[str, str], stdin: str | None = None) -> Any:
        """What the code prints, as JSON."""
        done = subprocess.run(
            [sys.executable, "-W", "error::FutureWarning", "-c", code],
            env=env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture
def probe(run: Callable[..., Any]) -> Probe:
    """Run ``probe_machine`` in a new process."""
    code = "from autotune.probe import probe_machine; print(probe_machine().model_dump_json())"
    return lambda env: run(code, env)
