"""Accelerators that only torch can describe: AMD (ROCm), Intel (XPU) and Apple (MPS).

torch is imported only if it was built for one of them; with a CPU or CUDA build nothing here
would come of the seconds that takes.
"""

from __future__ import annotations

import platform
from typing import Any

from autotune.probe.torch_build import torch_build
from autotune.records import Device, DeviceKind, Host


def probe_torch_devices(host: Host) -> tuple[list[Device], dict[str, str]]:
    """Ask torch for its accelerators. Never raises: a kind that fails is explained by its name."""
    kind = _kind_built_for()
    if kind is None:
        return [], {}
    try:
        import torch

        if kind == "mps":
            return _apple(torch, host), {}
        backend = torch.cuda if kind == "rocm" else torch.xpu
        count = backend.device_count() if backend.is_available() else 0
        return [_device(backend, kind, position) for position in range(count)], {}
    except Exception as error:  # drivers fail in their own ways, and the CPU is still there
        return [], {kind: f"torch cannot use it: {type(error).__name__}: {error}"}


def _kind_built_for() -> DeviceKind | None:
    build = torch_build()
    if "hip" in build:
        return "rocm"
    if "xpu" in build:
        return "xpu"
    if build and (platform.system(), platform.machine()) == ("Darwin", "arm64"):
        return "mps"  # every build of torch for this system has it
    return None


def _device(backend: Any, kind: DeviceKind, position: int) -> Device:
    unknown: dict[str, str] = {}
    properties = backend.get_device_properties(position)
    total = int(properties.total_memory)
    try:
        free = int(backend.mem_get_info(position)[0])
    except RuntimeError as error:  # not every Intel driver can tell
        free = total
        unknown["free_bytes"] = f"taken for all of it: {error}"
    identity = getattr(properties, "uuid", None)
    return Device(
        kind=kind,
        uuid=f"{kind}-{identity}" if identity is not None else f"{kind}:{position}",
        name=str(properties.name),
        total_bytes=total,
        free_bytes=min(free, total),
        # gfx942:sramecc+:xnack- ; the part before the colon is what kernels are built for.
        compute_capability=str(getattr(properties, "gcnArchName", "")).split(":")[0] or None,
        driver=str(getattr(properties, "driver_version", "")) or None,
        unknown=unknown,
    )


def _apple(torch: Any, host: Host) -> list[Device]:
    if not torch.backends.mps.is_available():
        return []
    # Memory is shared with the host; Metal advises how much of it to take.
    total = int(torch.mps.recommended_max_memory())
    return [
        Device(
            kind="mps",
            uuid="mps",
            name=host.cpu_name or "Apple GPU",
            total_bytes=total,
            free_bytes=min(total, host.ram_available_bytes),
        )
    ]
