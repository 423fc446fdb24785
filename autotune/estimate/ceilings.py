"""How fast a device can compute and copy at best: measured once, from the table, or guessed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from autotune.errors import AutotuneError, CannotRun, one_line
from autotune.estimate.cards import Card, card_of, link_bytes_s
from autotune.files import cache_folder, pretty_json, write_atomic
from autotune.levers.mechanisms.capability import is_elsewhere
from autotune.processes import own_environment
from autotune.records import Device, Record
from autotune.stored import read_stored

#: Numbers G2: about four fifths of a PCIe link are reached by copies from pinned memory.
REACHABLE_LINK = 0.8
#: Assumption: between two launches of a kernel that does next to nothing, from Python.
_LAUNCH_S = 5e-6
#: What a format that a device has no unit for is computed in.
_INSTEAD: Mapping[str, tuple[str, ...]] = {
    "fp8": ("bf16", "fp16", "fp32"),
    "int8": ("bf16", "fp16", "fp32"),
    "bf16": ("fp32",),
    "fp16": ("fp32",),
    "tf32": ("fp32",),
}
#: Assumptions for an accelerator that is not in the table: less than nearly all that are.
_UNKNOWN_FLOPS = {"fp32": 8e12, "fp16": 30e12, "bf16": 30e12}
_UNKNOWN_COPY_BYTES_S = 250e9
_UNKNOWN_LINK = (3, 8)
#: Assumptions for a processor: by core, with 256-bit vectors; fp16 is emulated (levers.md C1).
_CORE_FLOPS = {"fp32": 40e9, "bf16": 40e9, "fp16": 5e9}
_HOST_COPY_BYTES_S, _HOST_LAUNCH_S = 10e9, 2e-6

#: Ten seconds of measuring, after importing torch from a slow disk.
_PROBE_DEADLINE_S = 120.0
_MOST_BYTES = 1 << 16


class Ceilings(Record):
    """What a device does in a second at best; ``flops`` by format, a copied byte counts twice."""

    source: Literal["measured", "table", "guess"]
    flops: Mapping[str, float] = Field(min_length=1)
    copy_bytes_s: float = Field(gt=0)
    host_to_device_bytes_s: float | None = Field(default=None, gt=0)
    launch_s: float = Field(gt=0)

    def rate(self, number_format: str) -> float:
        """Operations a second in a format, or in the one that is computed in instead."""
        for one in (number_format, *_INSTEAD.get(number_format, ())):
            if one in self.flops:
                return self.flops[one]
        return min(self.flops.values())


def ceilings_from_card(card: Card) -> Ceilings:
    """What its maker promises of a card, and of its link the share that copies reach."""
    link = link_bytes_s(card.pcie_generation, card.pcie_width)
    return Ceilings(
        source="table",
        flops=card.flops,
        copy_bytes_s=card.memory_bytes_s,
        host_to_device_bytes_s=link * REACHABLE_LINK,
        launch_s=_LAUNCH_S,
    )


def known_ceilings(device: Device, software: str | None = None) -> Ceilings:
    """What is known of a device without running anything on it.

    Args:
        device: Any, be it here or not.
        software: What else the measured ones depend on; by default the version of torch.
    """
    measured = _read(device, software)
    if measured is not None:
        return measured
    card = card_of(device)
    return _guess(device) if card is None else _with_link(ceilings_from_card(card), device)


def measure_ceilings(device: Device, software: str | None = None) -> Ceilings:
    """Measure a device in a process of its own, ten seconds, and remember the result.

    Raises:
        CannotRun: If the device is not here, or torch cannot use it.
    """
    if is_elsewhere(device):
        raise CannotRun(
            f"{device.name} is not here, so it cannot be measured",
            hint="its data sheet is used instead",
        )
    found = _run_probe(device)
    try:
        path = _cache_file(device, software)
        write_atomic(path, pretty_json(found.model_dump(mode="json")), overwrite=True)
    except AutotuneError:
        pass  # it was measured all the same, and will be measured again next time
    return found


def best_ceilings(device: Device, say: Callable[[str], None]) -> Ceilings:
    """The measured ones, measured now if they never were; where that cannot be, what is known.

    Args:
        device: Nothing else should run on it now.
        say: Is told what takes time.
    """
    known = known_ceilings(device)
    if known.source == "measured" or is_elsewhere(device):
        return known
    say(f"measuring {device.name}: ten seconds, once")
    try:
        return measure_ceilings(device)
    except CannotRun as error:
        say(f"it could not be measured ({error.message}); what is known of it is used")
        return known


def _run_probe(device: Device) -> Ceilings:
    environment = own_environment(os.environ)
    if device.kind in ("cuda", "cpu"):
        environment["CUDA_VISIBLE_DEVICES"] = device.uuid if device.kind == "cuda" else ""
    command = [sys.executable, "-m", "autotune.estimate.ceilings_probe", device.kind]
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_DEADLINE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CannotRun(
            f"measuring {device.name} took more than {_PROBE_DEADLINE_S:.0f} s",
            hint="autotune doctor",
        ) from None
    try:
        return Ceilings.model_validate_json(done.stdout[-_MOST_BYTES:])
    except ValidationError:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        why = one_line(said[-1]) if said else f"the process ended with {done.returncode}"
        raise CannotRun(
            f"{device.name} cannot be measured: {why}", hint="autotune doctor"
        ) from None


def _read(device: Device, software: str | None) -> Ceilings | None:
    """What was measured before, unless it is broken or was never."""
    try:
        found = read_stored(_cache_file(device, software), Ceilings, cap_bytes=_MOST_BYTES)
    except AutotuneError:
        return None
    return found if found.source == "measured" else None


def _cache_file(device: Device, software: str | None) -> Path:
    """A processor is known by its name and how much of it may be used."""
    cores = f"{_cores()}-cores" if device.kind == "cpu" else ""
    parts = (device.uuid, device.name, cores, software or _torch_version())
    words = (re.sub(r"[^A-Za-z0-9.]+", "-", part).strip("-.")[:60] for part in parts)
    return cache_folder("ceilings") / f"{'_'.join(filter(None, words))}.json"


def _torch_version() -> str:
    try:
        return f"torch-{version('torch')}"
    except PackageNotFoundError:
        return "no-torch"


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _with_link(ceilings: Ceilings, device: Device) -> Ceilings:
    """The link of the slot, where it is known to be another than the card's."""
    if device.pcie_generation is None or device.pcie_width is None:
        return ceilings
    link = link_bytes_s(device.pcie_generation, device.pcie_width) * REACHABLE_LINK
    return ceilings.but(host_to_device_bytes_s=link)


def guess_host() -> Ceilings:
    """What any processor does, by the number of its cores."""
    return Ceilings(
        source="guess",
        flops={name: rate * _cores() for name, rate in _CORE_FLOPS.items()},
        copy_bytes_s=_HOST_COPY_BYTES_S,
        launch_s=_HOST_LAUNCH_S,
    )


def _guess(device: Device) -> Ceilings:
    if device.kind == "cpu":
        return guess_host()
    link = link_bytes_s(*_UNKNOWN_LINK) * REACHABLE_LINK
    found = Ceilings(
        source="guess",
        flops=_UNKNOWN_FLOPS,
        copy_bytes_s=_UNKNOWN_COPY_BYTES_S,
        # Apple's memory is the host's as well.
        host_to_device_bytes_s=None if device.kind == "mps" else link,
        launch_s=_LAUNCH_S,
    )
    return found if device.kind == "mps" else _with_link(found, device)
