"""NVIDIA cards as devices: what NVML reads, as far as CUDA would show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from autotune.errors import CannotRun
from autotune.probe.visible import Card, order_remark, visible_cards
from autotune.records import Device, Host

if TYPE_CHECKING:
    from autotune.probe.nvml import Reading


def probe_nvidia_devices(
    host: Host, environ: Mapping[str, str]
) -> tuple[list[Device], dict[str, str]]:
    """Find the visible cards, in CUDA's order. Never raises.

    Returns:
        The devices; and under ``cuda`` why there is none, under ``cuda:1`` why the card with that
        index in NVML cannot be used, under the name of an environment variable what it causes.
    """
    try:
        from autotune.probe import nvml

        readings = nvml.read_cards()
    except ImportError as error:
        return [], {"cuda": f"NVIDIA cards cannot be asked: {error}"}
    except CannotRun as error:
        return [], {"cuda": f"{error.message}; {error.hint}"}
    if not readings:
        return [], {"cuda": "the NVIDIA driver sees no GPU"}
    cards = [
        Card(reading.index, reading.values.get("uuid", ""), reading.values.get("name", ""))
        for reading in readings
    ]
    chosen, masked = visible_cards(cards, environ.get("CUDA_VISIBLE_DEVICES"))
    remarks = {"CUDA_VISIBLE_DEVICES": masked, "CUDA_DEVICE_ORDER": order_remark(cards, environ)}
    unknown = {name: text for name, text in remarks.items() if text is not None}
    devices: list[Device] = []
    for reading in (readings[position] for position in chosen):
        found = _device(reading, host)
        if isinstance(found, Device):
            devices.append(found)
        else:
            unknown[f"cuda:{reading.index}"] = f"cannot be used: {found}"
    return devices, unknown


def _device(reading: Reading, host: Host) -> Device | str:
    """The device, or why the card cannot be one."""
    values, unknown = dict(reading.values), dict(reading.unknown)
    if values.pop("uses_host_memory", False):
        values |= {"total_bytes": host.ram_total_bytes, "free_bytes": host.ram_available_bytes}
        unknown["total_bytes"] = "taken from the host: the card does not tell of its own memory"
    for needed in ("uuid", "total_bytes"):
        if needed not in values:
            return unknown.get(needed, "it does not answer")
    values.setdefault("name", "NVIDIA GPU")
    return Device(kind="cuda", unknown=unknown, **values)
