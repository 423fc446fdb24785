"""What holds for every test: one thread, a cache of its own, no network, no terminal.

And the compiled stand-in for NVML, which the tests of several layers need.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.stubs.nvml import COMPILER, NO_COMPILER, StubNvml
from tests.survivors import survivors

#: One thread each: two OpenMP processes that overlap on two cores slow each other 25 times.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "NO_COLOR": "1",
    "COLUMNS": "100",
    "PYTHONWARNINGS": "ignore",
    # It would compile what unpacks its weights: half a minute, for pictures that are the same.
    "SDNQ_USE_TORCH_COMPILE": "0",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--leave-nothing",
        action="store_true",
        help="fail if a process, a held lock or a temporary file of the session is left",
    )


def pytest_configure(config: pytest.Config) -> None:
    os.environ.update(_ENVIRONMENT)
    config.stash[_CACHE] = os.environ["AUTOTUNE_CACHE"] = tempfile.mkdtemp(prefix="autotune-test-")
    os.environ["AUTOTUNE_LOCKS"] = str(Path(config.stash[_CACHE], "locks"))
    os.environ["AUTOTUNE_BOOK"] = str(Path(config.stash[_CACHE], "no-book"))
    # What is compiled twice in a session is compiled once, and nothing of an earlier one is used.
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(config.stash[_CACHE], "inductor"))

    if config.getoption("--leave-nothing"):
        # A folder for temporary files of its own, so that what is left there is the session's.
        place = Path(config.stash[_CACHE], "temporary")
        place.mkdir()
        os.environ["TMPDIR"] = tempfile.tempdir = str(place)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    cache = Path(session.config.stash[_CACHE])
    if session.config.getoption("--leave-nothing"):
        left = session.config.stash[_LEFT] = list(survivors(cache, cache / "temporary"))
        if left and not session.exitstatus:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    left = config.stash.get(_LEFT, None)
    if left is not None:
        terminalreporter.section("left behind")
        for line in left or ["nothing"]:
            terminalreporter.line(line)


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[_CACHE], ignore_errors=True)


_CACHE = pytest.StashKey[str]()
_LEFT = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if COMPILER is None:
        pytest.skip(NO_COMPILER)
    return StubNvml.build(tmp_path_factory.mktemp("nvml")).library


@pytest.fixture
def nvml(nvml_library: Path, tmp_path: Path) -> StubNvml:
    return StubNvml(nvml_library, tmp_path / "nvml.txt")
