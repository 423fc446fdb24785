"""Limits around a trial bind inside its process only, and failures are called by their names."""

from __future__ import annotations

import errno
import json
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from autotune.status import Status
from autotune.trial import guard
from autotune.trial.guard import GaveUp, classify, enforce_budget, give_up_after, most_bytes
from tests.levers.built import card
from tests.trial.bench import CPU, ROOT

GIB = 1 << 30


def torch_oom() -> BaseException:
    import torch

    return torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize(
    ("system", "budget", "most"),
    [
        ("6.6.87.2-microsoft-standard-WSL2", None, 9 * GIB),
        ("6.6.87.2-microsoft-standard-WSL2", 12 * GIB, 9 * GIB),
        ("6.6.87.2-microsoft-standard-WSL2", 8 * GIB, 8 * GIB),
        ("6.8.0-45-generic", None, None),
        ("6.8.0-45-generic", 12 * GIB, 12 * GIB),
    ],
)
def test_where_a_driver_spills_no_more_is_taken_than_there_is(
    monkeypatch: pytest.MonkeyPatch, system: str, budget: int | None, most: int | None
) -> None:
    """Under WSL a card goes on in the host's memory: even the baseline has to fail instead."""
    monkeypatch.setattr(guard.platform, "release", lambda: system)
    assert most_bytes(card().but(free_bytes=9 * GIB), budget) == most
    assert most_bytes(CPU, budget) == budget


ALLOCATOR = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"
)
WITHOUT_BUDGET = [
    (torch_oom(), Status.OUT_OF_VRAM),
    (MemoryError(), Status.OUT_OF_RAM),
    (SystemError("error return without exception set"), Status.OUT_OF_RAM),
    (SystemError("unknown opcode"), Status.UNSUPPORTED),
    (RuntimeError(ALLOCATOR), Status.OUT_OF_RAM),
    (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), Status.OUT_OF_RAM),
    (RuntimeError("std::bad_alloc"), Status.OUT_OF_RAM),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), Status.OUT_OF_RAM),
    (GaveUp("a generation took more than 1 s"), Status.TOO_SLOW),
    (OSError(errno.ENOSPC, "No space left on device"), Status.DISK_FULL),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), Status.DISK_FULL),
    (KeyboardInterrupt(), Status.CANCELLED),
    (RuntimeError("mat1 and mat2 must have the same dtype"), Status.UNSUPPORTED),
    (ValueError("cannot allocate memory"), Status.UNSUPPORTED),
    (NotImplementedError(), Status.UNSUPPORTED),
    (ImportError("no xformers"), Status.UNSUPPORTED),
    (OSError(errno.ENOENT, "no such file"), Status.UNSUPPORTED),
]


@pytest.mark.parametrize(("error", "status"), WITHOUT_BUDGET, ids=repr)
def test_a_failure_is_called_by_its_name(error: BaseException, status: Status) -> None:
    assert classify(error, budget_bytes=None, stage="warmup") is status


@pytest.mark.parametrize(("error", "status"), WITHOUT_BUDGET, ids=repr)
def test_under_a_budget_running_out_of_memory_means_over_budget(
    error: BaseException, status: Status
) -> None:
    no_memory = status in (Status.OUT_OF_VRAM, Status.OUT_OF_RAM)
    expected = Status.OVER_BUDGET if no_memory else status
    assert classify(error, budget_bytes=GIB, stage="sample") is expected


def test_what_fails_before_the_candidate_is_touched_is_our_fault() -> None:
    assert classify(RuntimeError("x"), budget_bytes=None, stage="start") is Status.INTERNAL
    assert classify(RuntimeError("x"), budget_bytes=None, stage="load") is Status.UNSUPPORTED


def test_a_block_that_takes_too_long_is_left() -> None:
    start = time.monotonic()
    with pytest.raises(GaveUp, match=r"more than 0\.1 s"), give_up_after(0.1):
        time.sleep(10)
    assert time.monotonic() - start < 2


def test_giving_up_is_not_swallowed_by_what_swallows_exceptions() -> None:
    def library() -> None:
        try:
            time.sleep(10)
        except Exception:
            pytest.fail("a library could swallow it")

    with pytest.raises(GaveUp), give_up_after(0.05):
        library()


def test_a_block_that_ends_in_time_leaves_no_alarm_and_the_old_handler() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with give_up_after(0.2):
        assert signal.getsignal(signal.SIGALRM) is not before
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    with pytest.raises(ValueError, match="boom"), give_up_after(0.2):
        raise ValueError("boom")
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_of_a_budget_on_a_card_the_allocator_gets_what_the_context_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else it keeps blocks up to the budget, and the whole process lies above it."""
    shares: list[float] = []
    module = SimpleNamespace(
        mem_get_info=lambda: (9_000_000_000, 10_000_000_000),
        set_per_process_memory_fraction=shares.append,
    )
    monkeypatch.setattr(guard, "torch_module", lambda device: module)
    enforce_budget(card(), 5_000_000_000, 1, 700_000_000)
    enforce_budget(card(), 20_000_000_000, 1, 700_000_000)
    enforce_budget(card(), 500_000_000, 1, 700_000_000)
    assert shares == [pytest.approx(0.41), 1.0, 0.0]


OVERRUN = """
import json, resource, torch
from autotune.trial.guard import classify, enforce_budget
from tests.trial.bench import CPU
torch.set_num_threads(1)
enforce_budget(CPU, {budget}, 1)
kept = torch.ones({fits}, dtype=torch.uint8)
try:
    torch.ones({too_much}, dtype=torch.uint8)
    found = "nothing was raised"
except Exception as error:
    found = [type(error).__name__, classify(error, budget_bytes={budget}, stage="sample")]
print(json.dumps(found))
"""


def test_an_overrun_raises_in_that_process_and_only_there() -> None:
    own_limit = resource.getrlimit(resource.RLIMIT_DATA)
    code = OVERRUN.format(budget=200 << 20, fits=150 << 20, too_much=400 << 20)
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(found.stdout) == ["RuntimeError", "over_budget"]
    assert resource.getrlimit(resource.RLIMIT_DATA) == own_limit
    assert len(b"x" * (400 << 20)) == 400 << 20


#: Needs 90 MB of the compiler, and no package.
PROGRAM = '#include <regex>\n#include <iostream>\nint main() { std::regex one("a"); }\n'
COMPILE = """
import os, resource, subprocess, sys
from pathlib import Path
from autotune.trial.guard import free_compiler
folder = Path(sys.argv[1])
own = os.environ["CXX"]
free_compiler(folder)
free_compiler(folder)
hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
resource.setrlimit(resource.RLIMIT_DATA, (40 << 20, hard))
for compiler in (own, os.environ["CXX"]):
    command = [compiler, "-fsyntax-only", "-x", "c++", str(folder / "program.cpp")]
    print(subprocess.run(command, capture_output=True).returncode)
print(resource.getrlimit(resource.RLIMIT_DATA)[0] >> 20)
print(os.environ["CXX"])
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++")
@pytest.mark.parametrize("name", ["plain", "Ann's $(study)"])
def test_the_budget_does_not_reach_the_compiler_and_stays_where_it_is(
    tmp_path: Path, name: str
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "program.cpp").write_text(PROGRAM)
    found = subprocess.run(
        [sys.executable, "-c", COMPILE, str(folder)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "CXX": "g++", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    own, freed, limit, compiler = found.stdout.splitlines()
    assert own != "0", "the program is too small to tell"
    assert (freed, limit) == ("0", "40")
    assert len(shlex.split(compiler)) == 1
    assert Path(compiler).name == "g++", "inductor knows the kind of compiler by its name"
    assert Path(compiler).resolve().parent == folder / "compiler"


def test_what_runs_out_of_memory_inside_the_compiler_of_torch_is_over_budget() -> None:
    from torch._dynamo.exc import InternalTorchDynamoError

    error = InternalTorchDynamoError("MemoryError: std::bad_alloc")
    assert classify(error, budget_bytes=GIB, stage="warmup") is Status.OVER_BUDGET
