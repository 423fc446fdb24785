"""The checks of ``autotune doctor``. Each looks at one thing and never raises."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from autotune.errors import AutotuneError

#: Without these no trial can run.
_NEEDED = ("torch", "diffusers", "transformers", "accelerate", "optuna", "pydantic", "safetensors")
#: A study writes little; the demo model takes 45 MB, a run folder a few more.
_DISK_FLOOR_BYTES = 500 << 20


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check found."""

    mark: Literal["ok", "note", "fail"]
    subject: str
    text: str
    hint: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        """For ``--json``."""
        return asdict(self)


def check_up() -> list[Finding]:
    """Run every check, in order of how much depends on it."""
    checks = (_software, _devices, _memory_limit, _fork_server, _cache, _levers)
    return [finding for check in checks for finding in _guarded(check)]


def _guarded(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    subject = check.__name__.strip("_").replace("_", " ")
    try:
        yield from check()
    except AutotuneError as error:
        yield Finding(mark="fail", subject=subject, text=error.message, hint=error.hint)
    except Exception as error:
        yield Finding(mark="fail", subject=subject, text=f"{type(error).__name__}: {error}")


def _software() -> Iterator[Finding]:
    from autotune.probe.software import probe_software

    found = probe_software()
    missing = [name for name in _NEEDED if name not in found]
    versions = ", ".join(f"{name} {found[name]}" for name in _NEEDED if name in found)
    yield Finding(mark="ok", subject="software", text=versions)
    if missing:
        yield Finding(
            mark="fail",
            subject="software",
            text=f"not installed: {', '.join(missing)}",
            hint="pip install diffusers-autotune",
        )


def _devices() -> Iterator[Finding]:
    from autotune.probe import probe_machine
    from autotune.units import format_bytes

    machine = probe_machine()
    for device in machine.devices:
        free = f"{format_bytes(device.free_bytes)} of {format_bytes(device.total_bytes)} free"
        yield Finding(mark="ok", subject=device.kind, text=f"{device.name}, {free}")
    for subject, reason in machine.unknown.items():
        yield Finding(mark="note", subject=subject, text=reason)


def _memory_limit() -> Iterator[Finding]:
    if sys.platform != "linux":
        yield Finding(
            mark="fail",
            subject="budget",
            text=f"memory budgets cannot be enforced on {sys.platform}",
            hint="trials run on Linux only, in this version",
        )
        return
    from autotune.trial.memory import HostMeter

    how = HostMeter().report().how
    limited = "does not" in how
    yield Finding(mark="note" if limited else "ok", subject="host memory", text=how)


def _fork_server() -> Iterator[Finding]:
    """Start a zygote for real: import everything, and see whether the driver was touched."""
    import time

    from autotune.engine.child import Zygote
    from autotune.probe import probe_machine
    from autotune.probe.device import select_device

    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        zygote = Zygote(
            pipeline="DiffusionPipeline",
            device=select_device(probe_machine(), None),
            log=Path(folder) / "zygote.txt",
            inherit=(),
            cold=False,
        )
        zygote.close()
    seconds = time.monotonic() - start
    if zygote.ready.get("driver_touched"):
        yield Finding(
            mark="note",
            subject="trials",
            text="importing the libraries touches the GPU driver, so every trial starts cold",
        )
    else:
        text = f"torch and diffusers import in {seconds:.1f} s, once a study; trials are forked"
        yield Finding(mark="ok", subject="trials", text=text)


def _cache() -> Iterator[Finding]:
    import shutil

    from autotune.files import cache_folder
    from autotune.units import format_bytes

    folder = cache_folder()
    free = shutil.disk_usage(folder).free
    enough = free >= _DISK_FLOOR_BYTES
    yield Finding(
        mark="ok" if enough else "fail",
        subject="disk",
        text=f"{format_bytes(free)} free where the cache lies",
        hint=None if enough else "set AUTOTUNE_CACHE to a folder with more room",
    )


def _levers() -> Iterator[Finding]:
    from autotune.levers import broken_levers, load_levers

    yield Finding(mark="ok", subject="levers", text=", ".join(load_levers()))
    for source, reason in broken_levers().items():
        yield Finding(mark="note", subject="levers", text=f"{source} cannot be used: {reason}")
