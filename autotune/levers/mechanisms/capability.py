"""What an NVIDIA card's compute capability means for levers."""

from __future__ import annotations

from autotune.records import Device

#: bf16 and TF32 arithmetic came with Ampere; below, bf16 is emulated (levers.md A2, A8).
AMPERE = (8, 0)

#: How the UUID of a card begins that is not here, but in a table.
ELSEWHERE = "card:"


def is_elsewhere(device: Device) -> bool:
    """Whether the device is in another machine, of whose software nothing is known."""
    return device.uuid.startswith(ELSEWHERE)


def compute_capability(device: Device) -> tuple[int, int] | None:
    """The version as two numbers; ``None`` if it is not known or the device is no NVIDIA card."""
    if device.kind != "cuda" or device.compute_capability is None:
        return None
    major, minor = (int(part) for part in device.compute_capability.split("."))
    return major, minor


def older_than(device: Device, needed: tuple[int, int], what: str) -> str | None:
    """Why the card cannot have it, if it is known to be too old."""
    found = compute_capability(device)
    if found is None or found >= needed:
        return None
    version = ".".join(map(str, needed))
    return (
        f"compute capability {device.compute_capability} has no {what} ({version} and later have)"
    )
