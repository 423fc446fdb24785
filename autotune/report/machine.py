"""``autotune probe`` for people."""

from __future__ import annotations

from typing import TextIO

from autotune.records import Device, Host, Machine
from autotune.report.words import console_for
from autotune.units import format_bytes

_SIZES = {"total_bytes", "free_bytes", "reserved_bytes"}
_LEFT_OUT = {"kind", "uuid", "name", "unknown", "neighbours"}


def print_machine(machine: Machine, stream: TextIO) -> None:
    """Print devices, host, software, and the reason for each thing that is unknown."""
    console = console_for(stream)

    def line(text: str = "") -> None:
        console.print(text, soft_wrap=True)

    for device in machine.devices:
        line(f"{device.kind}: {device.name} ({device.uuid})")
        for text in _device_lines(device):
            line(f"  {text}")
    line(f"host: {machine.host.os} on {machine.host.arch}")
    for text in _host_lines(machine.host):
        line(f"  {text}")
    line("software: " + ", ".join(f"{name} {v}" for name, v in machine.software.items()))
    for name, reason in machine.unknown.items():
        line(f"{name}: unknown, {reason}")


def _device_lines(device: Device) -> list[str]:
    lines = []
    for name, value in device:
        if name in _LEFT_OUT or (value is None and name not in device.unknown):
            continue
        label = name.removesuffix("_bytes").replace("_", " ")
        if value is None:
            lines.append(f"{label}: unknown, {device.unknown[name]}")
        else:
            shown = format_bytes(value) if name in _SIZES and isinstance(value, int) else value
            lines.append(f"{label}: {shown}")
    for other in device.neighbours or ():
        used = "unknown memory" if other.used_bytes is None else format_bytes(other.used_bytes)
        lines.append(f"process {other.pid} uses {used}")
    return lines


def _host_lines(host: Host) -> list[str]:
    lines = [
        f"processor: {host.cpu_name or 'unknown'}",
        f"cores: {host.usable_cores} usable of {host.logical_cores}",
        f"memory: {format_bytes(host.ram_available_bytes)} available of "
        f"{format_bytes(host.ram_total_bytes)}",
    ]
    if host.cpu_features:
        lines.append(f"features: {', '.join(host.cpu_features)}")
    if host.ram_limit_bytes is not None:
        lines.append(f"memory limit of the container: {format_bytes(host.ram_limit_bytes)}")
    if host.disk_free_bytes is not None:
        lines.append(f"disk: {format_bytes(host.disk_free_bytes)} free")
    lines += [f"{name}: unknown, {reason}" for name, reason in host.unknown.items()]
    return lines
