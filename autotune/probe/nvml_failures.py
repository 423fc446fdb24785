"""What NVML's error codes mean for the user. The numbers are fixed by NVIDIA's nvml.h."""

from __future__ import annotations

import os
from typing import Final

from autotune.errors import CannotRun

NOT_SUPPORTED: Final = 3
NO_PERMISSION: Final = 4
NOT_FOUND: Final = 6
DRIVER_NOT_LOADED: Final = 9
LIBRARY_NOT_FOUND: Final = 12
FUNCTION_NOT_FOUND: Final = 13
GPU_IS_LOST: Final = 15
RESET_REQUIRED: Final = 16
VERSION_MISMATCH: Final = 18
GPU_NOT_FOUND: Final = 28

#: After these no trial can run on the card any more (row G3 of the fault matrix).
LOST: Final = frozenset(
    {
        NOT_FOUND,
        DRIVER_NOT_LOADED,
        GPU_IS_LOST,
        RESET_REQUIRED,
        VERSION_MISMATCH,
        GPU_NOT_FOUND,
    }
)

_FAILURES: dict[int, tuple[str, str]] = {
    LIBRARY_NOT_FOUND: (
        "no NVIDIA driver was found",
        "install the driver, or measure on the CPU with --device cpu",
    ),
    DRIVER_NOT_LOADED: (
        "the NVIDIA driver is not loaded",
        "load it (modprobe nvidia) or reboot",
    ),
    VERSION_MISMATCH: (
        "the NVIDIA driver was updated under the running kernel",
        "reboot, or reload the driver",
    ),
    NO_PERMISSION: (
        "the NVIDIA driver does not let this user in",
        "check the permissions of /dev/nvidiactl and /dev/nvidia0",
    ),
    NOT_FOUND: ("the GPU is no longer there", "nvidia-smi -L lists the GPUs there are"),
    GPU_IS_LOST: (
        "the GPU is lost: it no longer answers its driver",
        "reboot; if it happens again, check its power and its slot",
    ),
    RESET_REQUIRED: (
        "the GPU must be reset before it can be used",
        "nvidia-smi --gpu-reset, or reboot",
    ),
}
#: The kernel's half of the driver is there and the library is not: a container that was given
#: only the `compute` capability.
_LIBRARY_HIDDEN = (
    "an NVIDIA driver is loaded, but its library libnvidia-ml.so.1 was not found",
    "in a container, start it with NVIDIA_DRIVER_CAPABILITIES=compute,utility",
)
_REASONS = {
    NOT_SUPPORTED: "not supported by this card or driver",
    NO_PERMISSION: "no permission to read it",
    FUNCTION_NOT_FOUND: "this driver does not know the call",
}


#: What is so once is so for ever: asking again tells nothing new.
FOR_GOOD: Final = frozenset(_REASONS)


class NvmlUnavailable(CannotRun):
    """NVML, or one card, cannot be asked; ``lost`` when it will not come back by itself."""

    def __init__(self, message: str, *, hint: str, lost: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.lost = lost


class NvmlSilent(NvmlUnavailable):
    """NVML hangs: nothing more is known about the card."""


def failure(code: int, text: str) -> NvmlUnavailable:
    """The sentence and the hint for an error that ends the conversation."""
    message, hint = _FAILURES.get(
        code, (f"NVML does not work: {text}", "see whether nvidia-smi works")
    )
    if code == LIBRARY_NOT_FOUND and os.path.exists("/dev/nvidiactl"):
        message, hint = _LIBRARY_HIDDEN
    return NvmlUnavailable(message, hint=hint, lost=code in LOST)


def reason(code: int | None, text: str) -> str:
    """Why a single field is unknown."""
    if code in _REASONS:
        return _REASONS[code]
    return _FAILURES[code][0] if code in _FAILURES else f"NVML says: {text}"
