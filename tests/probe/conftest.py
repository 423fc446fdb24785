"""The compiled NVML, and ways to run the probe in a process that loads it.

pynvml finds the library through the loader, which reads its path only when a process starts.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.stubs.nvml import COMPILER, NO_COMPILER, StubNvml

Probe = Callable[..., Any]


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if COMPILER is None:
        pytest.skip(NO_COMPILER)
    return StubNvml.build(tmp_path_factory.mktemp("nvml")).library


@pytest.fixture
def nvml(nvml_library: Path, tmp_path: Path) -> StubNvml:
    return StubNvml(nvml_library, tmp_path / "nvml.txt")


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
