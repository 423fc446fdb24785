"""chaos: a third-party lever whose choices misbehave inside the trial.

It is registered like any other, by the entry point beside it: put its folder (``CHAOS`` in
``tests/trial/bench.py``) on PYTHONPATH. ``<fault>`` strikes while the pipeline is built,
``<fault>-in-warmup`` in the first forward pass, ``<fault>-in-sample`` in a pass after the first
generation.
"""

from __future__ import annotations

import ctypes
import mmap
import os
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
FLOOD_BYTES = 5_000_000
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
    line = "x" * 99
    for _ in range(FLOOD_BYTES // 100):
        print(line)


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
    "exit": _exit,
    "sys-exit": _sys_exit,
    "hang": _hang,
    "stubborn-hang": _stubborn_hang,
    "stray": _stray,
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
