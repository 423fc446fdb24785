"""The devices trials can run on, keyed by UUID and never by index (design D7)."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from autotune.errors import BadInput, shorten
from autotune.probe.host import probe_host
from autotune.probe.nvidia_device import probe_nvidia_devices
from autotune.probe.torch_device import probe_torch_devices
from autotune.records import Device, Host, Machine
from autotune.units import format_bytes

#: A shorter beginning of a UUID is a slip: "GPU-" and one digit.
_SHORTEST_PREFIX = 6


def probe_devices(
    host: Host | None = None, *, environ: Mapping[str, str] = os.environ
) -> tuple[tuple[Device, ...], dict[str, str]]:
    """Find every device, the CPU last. Never raises.

    NVIDIA cards come from NVML, as far as CUDA_VISIBLE_DEVICES shows them; other accelerators from
    torch, and only where there is no NVIDIA card.

    Returns:
        The devices, and by topic (``cuda``, ``cuda:1``, ``rocm``, an environment variable) what
        could not be found out or used, and why.
    """
    host = host or probe_host()
    accelerators, unknown = probe_nvidia_devices(host, environ)
    if not accelerators:
        accelerators, more = probe_torch_devices(host)
        unknown |= more
    return (*accelerators, _cpu(host)), unknown


def select_device(machine: Machine, wanted: str | None) -> Device:
    """Pick the device the user wants.

    Args:
        machine: What was probed.
        wanted: A kind (``cuda``), a kind and its position (``cuda:0``), a UUID or a unique
            beginning of one. ``None`` for any accelerator, or the CPU where there is none. Of
            several the one with most free memory is taken.

    Raises:
        BadInput: Nothing here is called that, or more than one device is.
    """
    devices = machine.devices
    if wanted is None:
        return _roomiest([device for device in devices if device.kind != "cpu"] or devices)
    for name, device in _names(devices):
        if wanted in (name, device.uuid):
            return device
    if same_kind := [device for device in devices if device.kind == wanted]:
        return _roomiest(same_kind)
    found = [device for device in devices if device.uuid.startswith(wanted)]
    if len(wanted) < _SHORTEST_PREFIX or not found:
        raise BadInput(f"there is no device {shorten(wanted)}", hint=_offer(machine, wanted))
    if len(found) > 1:
        raise BadInput(
            f"{len(found)} devices begin with {shorten(wanted)}", hint=_offer(machine, wanted)
        )
    return found[0]


def _names(devices: Sequence[Device]) -> list[tuple[str, Device]]:
    """Each device with the name it is called by: its kind and its position in that kind."""
    seen: Counter[str] = Counter()
    named: list[tuple[str, Device]] = []
    for device in devices:
        name = device.kind if device.kind == "cpu" else f"{device.kind}:{seen[device.kind]}"
        named.append((name, device))
        seen[device.kind] += 1
    return named


def _roomiest(devices: Sequence[Device]) -> Device:
    return max(devices, key=lambda device: device.free_bytes)  # the first of equals


def _offer(machine: Machine, wanted: str) -> str:
    offer = "available: " + ", ".join(
        f"{name} ({device.name}, {format_bytes(device.free_bytes)} free)"
        for name, device in _names(machine.devices)
    )
    about_nvidia = [machine.unknown.get(topic) for topic in ("cuda", "CUDA_VISIBLE_DEVICES")]
    if not re.match(r"cuda|gpu|mig", wanted, re.IGNORECASE):
        return offer
    return "; ".join([offer, *filter(None, about_nvidia)])


def _cpu(host: Host) -> Device:
    limit = host.ram_limit_bytes
    total = host.ram_total_bytes if limit is None else min(host.ram_total_bytes, limit)
    return Device(
        kind="cpu",
        uuid="cpu",
        name=host.cpu_name or host.arch,
        total_bytes=total,
        free_bytes=min(total, host.ram_available_bytes),
    )
