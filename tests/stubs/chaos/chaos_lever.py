"""chaos: a third-party lever whose choices misbehave inside the trial.

It is registered like any other, by the entry point beside it: put its folder (``CHAOS`` in
``tests/trial/bench.py``) on PYTHONPATH. ``<fault>`` strikes while the pipeline is built,
``<fault>-in-warmup`` in the first forward pass, ``<fault>-in-sample`` in a pass after the first
generation.
"""

from __future__ import annotations

import ctypes
import itertools
import mmap
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from autotune.levers.base import ChoiceMaker, ModelView, Target
from autotune.records import Choice, Device, Evidence, Stage

name = "chaos"
what = "misbehave"
stage = Stage.BUILD

#: What ``shared-memory`` holds: resident, but of a kind that RLIMIT_DATA does not count.
SHARED_BYTES = 200 << 20
#: What ``allocation`` asks torch for.
ALLOCATED_BYTES = 1 << 30
FLOOD_BYTES = 200_000_000
#: The file in the trial's folder that says that a hang has begun.
HANGING = "hanging"

_held: list[Any] = []


def choices(device: Device, view: ModelView | None) -> Sequence[Choice]:
    """Off, and every fault at three moments."""
    choice = ChoiceMaker(lever=name)
    return (
        choice("off", "behave", baseline=True),
        choice("without-effect", "accept and do nothing"),
        choice("as-fast", "have an effect that costs nothing"),
        choice("slow-step", "take 15 % longer for every step"),
        *(choice(f"{fault}{moment}", fault) for fault in FAULTS for moment in _MOMENTS),
    )


def apply(target: Target, choice: str) -> None:
    """Misbehave now, or when the denoiser runs."""
    if choice in ("off", "without-effect", "as-fast"):
        return
    if choice == "slow-step":
        _slow_down(target)
        return
    fault, _, moment = choice.partition("-in-")
    strike = partial(FAULTS[fault], target)
    if not moment:
        strike()
        return
    passes = {"warmup": 1, "sample": 2 * target.workload.steps + 1}[moment]
    count = 0

    def before_forward(*_: object) -> None:
        nonlocal count
        count += 1
        if count == passes:
            strike()

    target.denoiser.register_forward_pre_hook(before_forward)


def start_up_s(choice: str) -> float:
    """What compiles may take a second longer."""
    return 1.0 if choice.startswith("endless-compiler") else 0.0


def engaged(target: Target, choice: str) -> Evidence:
    """Everything but ``without-effect`` has an effect."""
    return Evidence(engaged=choice != "without-effect", detail=f"chaos: {choice}")


def _slow_down(target: Target) -> None:
    """Sleep after each pass of the denoiser, for a share of what it took."""
    started: list[float] = []

    def before_forward(*_: object) -> None:
        started.append(time.perf_counter())

    def after_forward(*_: object) -> None:
        time.sleep(0.15 * (time.perf_counter() - started.pop()))

    target.denoiser.register_forward_pre_hook(before_forward)
    target.denoiser.register_forward_hook(after_forward)


def _cuda_oom(target: Target) -> None:
    import torch

    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


def _memory_error(target: Target) -> None:
    raise MemoryError


def _error(target: Target) -> None:
    raise RuntimeError("chaos reigns\nand this line is of no interest")


def _segfault(target: Target) -> None:
    ctypes.string_at(0)


def _abort(target: Target) -> None:
    os.abort()


def _illegal_instruction(target: Target) -> None:
    os.kill(os.getpid(), signal.SIGILL)


def _exit(target: Target) -> None:
    os._exit(0)


def _sys_exit(target: Target) -> None:
    sys.exit(3)


def _hang(target: Target) -> None:
    (_folder() / HANGING).touch()
    time.sleep(600)


def _stubborn_hang(target: Target) -> None:
    """Neither this process nor its child ends on TERM, and the child holds the log open."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.Popen(["sleep", "600"])  # it inherits that TERM is ignored
    _hang(target)


def _busy_hang(target: Target) -> None:
    """Compute for ever in C and hold Python's lock: no handler of a signal ever runs."""
    sum(itertools.repeat(0))


def _recursion(target: Target) -> None:
    """Frames of Python are no stack: they take memory until there is none."""
    sys.setrecursionlimit(10**9)

    def deeper(number: int) -> int:
        return deeper(number + 1) + 1

    deeper(0)


def _deep_stack(target: Target) -> None:
    """Each call goes through C, whose stack ends."""
    sys.setrecursionlimit(10**9)

    def deeper(number: int) -> int:
        return max([number], key=deeper)

    deeper(0)


def _compile(target: Target, backend: Callable[[Any, Any], Any]) -> None:
    target.denoiser.compile(backend=backend)


def _failing_compiler(target: Target) -> None:
    def fail(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no kernel for this graph")

    _compile(target, fail)


def _endless_compiler(target: Target) -> None:
    """As inductor does, start a worker, and wait for it."""

    def wait(graph: Any, inputs: Any) -> Any:
        return subprocess.run(["sleep", "600"])

    _compile(target, wait)


def _vandalism(target: Target) -> None:
    """Change all that a process can change of itself."""
    os.environ.clear()
    os.umask(0o077)
    os.chdir("/")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _full_disk(target: Target) -> None:
    """As on a full disk, nothing can be written from now on."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))


def _stray(target: Target) -> None:
    """Leave a process behind in a session of its own, out of reach of a group kill."""
    subprocess.Popen(["sleep", "600"], start_new_session=True)


def _nan(target: Target) -> None:
    import torch

    with torch.no_grad():
        next(target.denoiser.parameters()).fill_(float("nan"))


def _flat(target: Target) -> None:
    target.vae.decoder.register_forward_hook(lambda module, arguments, output: output * 0)


def _same_picture(target: Target) -> None:
    """Whatever the seed, the first picture comes out: a result was cached."""
    first: list[Any] = []

    def after_decode(module: Any, arguments: Any, output: Any) -> Any:
        first.append(output)
        return first[0]

    target.vae.decoder.register_forward_hook(after_decode)


def _flood(target: Target) -> None:
    print("the flood begins")
    for _ in range(FLOOD_BYTES // 100_000):
        print("x" * 99_999)
    print("the flood ends")


def _allocation(target: Target) -> None:
    import torch

    _held.append(torch.ones(ALLOCATED_BYTES, dtype=torch.uint8))


def _shared_memory(target: Target) -> None:
    held = mmap.mmap(-1, SHARED_BYTES)
    held.write(b"x" * SHARED_BYTES)
    _held.append(held)


def _garbage_outcome(target: Target) -> None:
    (_folder() / "outcome.json").write_bytes(b'{"format": 1, "trial": "\xff')
    os._exit(0)


def _garbage_progress(target: Target) -> None:
    with (_folder() / "progress.jsonl").open("ab") as file:
        file.write(b'\xff\xfe\n[]\n7\n{"at": 1}\n' + b"[" * 100_000 + b"\n")


def _folder_removal(target: Target) -> None:
    shutil.rmtree(_folder())
    os._exit(0)


def _folder() -> Path:
    """The trial's folder: standard output is the log in it."""
    return Path(os.readlink("/proc/self/fd/1")).parent


FAULTS: dict[str, Callable[[Target], None]] = {
    "cuda-oom": _cuda_oom,
    "memory-error": _memory_error,
    "error": _error,
    "segfault": _segfault,
    "abort": _abort,
    "illegal-instruction": _illegal_instruction,
    "recursion": _recursion,
    "deep-stack": _deep_stack,
    "exit": _exit,
    "sys-exit": _sys_exit,
    "hang": _hang,
    "stubborn-hang": _stubborn_hang,
    "busy-hang": _busy_hang,
    "stray": _stray,
    "failing-compiler": _failing_compiler,
    "endless-compiler": _endless_compiler,
    "vandalism": _vandalism,
    "full-disk": _full_disk,
    "nan": _nan,
    "flat": _flat,
    "same-picture": _same_picture,
    "flood": _flood,
    "allocation": _allocation,
    "shared-memory": _shared_memory,
    "garbage-outcome": _garbage_outcome,
    "garbage-progress": _garbage_progress,
    "folder-removal": _folder_removal,
}
_MOMENTS = ("", "-in-warmup", "-in-sample")

if os.environ.get("AUTOTUNE_UNPROTECTED"):
    import unprotected  # noqa: F401 - it lies beside this file
