"""What must match for two numbers to be comparable, and how far two machines are apart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Literal

from autotune.records import Device, Fingerprint, Machine, Record
from autotune.units import GIB

Value = str | int | float | bool | None

#: The packages whose code runs, or chooses what runs, while a picture is generated.
_PACKAGES: Final = (
    *("python", "torch", "triton", "diffusers", "transformers", "accelerate", "bitsandbytes"),
    *("torchao", "xformers", "flash-attn", "sageattention", "kernels"),
)
#: Less memory than this share of the recorded is another size of card. Cards of one size differ
#: by less, as firmware and driver keep varying amounts for themselves.
_LESS_MEMORY: Final = 0.97
#: The RAM of one and the same host is reported with some MiB more or less from boot to boot.
_SAME_MEMORY: Final = 0.005


class Difference(Record):
    """One value that is not as recorded.

    ``far``: the numbers of the other machine say nothing here. ``near``: they may have moved.
    """

    field: str
    recorded: Value
    here: Value
    severity: Literal["far", "near"]


def fingerprint(machine: Machine, device: Device) -> Fingerprint:
    """Describe a device in its machine, without anything that tells one owner from another."""
    host = machine.host
    described: dict[str, Value] = {
        "kind": device.kind,
        "name": device.name,
        "total_bytes": device.total_bytes,
        "compute_capability": device.compute_capability,
        "driver": device.driver,
        "cuda": device.cuda,
        "power_limit_w": device.power_limit_w,
        "ecc": device.ecc,
        "mig": device.mig,
        "pcie_generation": device.pcie_generation,
        "pcie_width": device.pcie_width,
    }
    around: dict[str, Value] = {
        "os": host.os,
        "arch": host.arch,
        "cpu_name": host.cpu_name,
        "usable_cores": host.usable_cores,
        "ram_total_bytes": host.ram_total_bytes // GIB * GIB,
    }
    if device.kind == "cpu":
        around["cpu_features"] = " ".join(host.cpu_features)
    software = {name: machine.software[name] for name in _PACKAGES if name in machine.software}
    return Fingerprint(device=described, host=around, software=software)


def compare(recorded: Fingerprint, here: Fingerprint) -> tuple[Difference, ...]:
    """List what differs, the far differences first. Unknown on one side only is near."""
    found = [
        Difference(
            field=field, recorded=old, here=new, severity=_severity(field, old, new, recorded)
        )
        for field, old, new in _pairs(recorded, here)
        if old != new and not _same_memory(field, old, new)
    ]
    return tuple(sorted(found, key=lambda difference: difference.severity))


def _pairs(recorded: Fingerprint, here: Fingerprint) -> Iterator[tuple[str, Value, Value]]:
    yield "protocol", recorded.protocol, here.protocol
    on_cpu = recorded.device.get("kind") == here.device.get("kind") == "cpu"
    for section in ("device", "host", "software"):
        old, new = getattr(recorded, section), getattr(here, section)
        for name in dict.fromkeys([*old, *new]):
            if (section, name) == ("host", "cpu_name") and on_cpu:
                continue  # told as the name of the device
            yield f"{section}.{name}", old.get(name), new.get(name)


def _severity(field: str, old: Value, new: Value, recorded: Fingerprint) -> Literal["far", "near"]:
    far = False
    if field in ("protocol", "device.kind", "device.name"):
        far = True
    elif field in ("software.torch", "software.diffusers"):
        far = _release(old) != _release(new)
    elif old is None or new is None:
        far = False
    elif field == "device.compute_capability":
        far = True
    elif field == "device.total_bytes":
        far = _number(new) < _number(old) * _LESS_MEMORY
    elif recorded.device.get("kind") == "cpu" and field == "host.usable_cores":
        far = _number(new) < _number(old)
    elif field == "host.cpu_features":
        far = not set(str(old).split()) <= set(str(new).split())
    return "far" if far else "near"


def _same_memory(field: str, old: Value, new: Value) -> bool:
    return field == "device.total_bytes" and (
        abs(_number(new) - _number(old)) <= _number(old) * _SAME_MEMORY
    )


def _number(value: Value) -> float:
    """The number, or 0: a fingerprint comes from a file and may hold anything."""
    return float(value) if isinstance(value, int | float) else 0.0


def _release(version: Value) -> str:
    """Major and minor: 2.13 of 2.13.0+cpu. Without them, the whole text."""
    text = str(version)
    match = re.match(r"\d+\.\d+", text)
    return match.group() if match else text
