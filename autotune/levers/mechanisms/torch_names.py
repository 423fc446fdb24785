"""What torch calls a device. Children see only their own card; other processes may see several."""

from __future__ import annotations

from typing import Any

from autotune.records import Device, DeviceKind

#: ROCm builds of torch answer under the name "cuda".
_MODULE: dict[DeviceKind, str] = {"cuda": "cuda", "rocm": "cuda", "xpu": "xpu"}


def is_accelerator(device: Device) -> bool:
    """Whether the device has memory of its own, apart from the host's."""
    return device.kind in _MODULE


def torch_module(device: Device) -> Any:
    """``torch.cuda`` or ``torch.xpu``."""
    import torch

    return torch.get_device_module(_MODULE[device.kind])


def torch_index(device: Device) -> int:
    """The device's position among those this process sees, found by UUID (D7)."""
    module = torch_module(device)
    count = int(module.device_count())
    if count > 1:
        wanted = device.uuid.removeprefix("GPU-")
        for index in range(count):
            if str(getattr(module.get_device_properties(index), "uuid", "")) == wanted:
                return index
    return 0


def torch_device(device: Device) -> str:
    """The device's name for ``.to()``."""
    if not is_accelerator(device):
        return device.kind
    return f"{_MODULE[device.kind]}:{torch_index(device)}"
