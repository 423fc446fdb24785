"""Every backend of diffusers' attention dispatcher: what it is called, and what it needs.

Packages and capabilities are those that ``diffusers.models.attention_dispatch`` 0.42.1 checks,
where it checks any (levers.md, A7).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata

from autotune.levers.mechanisms.capability import compute_capability
from autotune.records import Device, DeviceKind, Fidelity

#: Set to 1 by the owner of the machine: native code may then come from the hub (R5).
ALLOW_HUB_KERNELS = "AUTOTUNE_ALLOW_HUB_KERNELS"

_GPU: tuple[DeviceKind, ...] = ("cuda", "rocm")
_NVIDIA: tuple[DeviceKind, ...] = ("cuda",)
_AMD: tuple[DeviceKind, ...] = ("rocm",)
_WANTED = {_GPU: "a CUDA device, this is", _NVIDIA: "an NVIDIA GPU, not", _AMD: "an AMD GPU, not"}

_FLASH = ("flash-attn>=2.6.3",)
_FLASH_3 = ("flash-attn-3",)
_SAGE = ("sageattention>=2.1.1",)
_KERNELS = ("kernels>=0.12",)
_AMPERE, _HOPPER, _BLACKWELL = (8, 0), (9, 0), (10, 0)


@dataclass(frozen=True, kw_only=True)
class Backend:
    """One backend.

    Args:
        value: What diffusers calls it.
        needs: Packages, each with the lowest version that will do.
        devices: Kinds of device it is for; ``None`` means all that torch knows.
        elsewhere: The device it is for, if that is none of ours.
        least: The lowest compute capability of an NVIDIA card.
        greatest: The highest one.
        head_dims: The only widths of a head that it takes; empty means any.
        remote: Whether it is native code that is downloaded from the hub.
        masks: Whether it takes the mask of a padded prompt.
        half: Whether it takes bf16 and fp16 only, on a GPU.
    """

    value: str
    what: str
    needs: tuple[str, ...] = ()
    devices: tuple[DeviceKind, ...] | None = _NVIDIA
    elsewhere: str | None = None
    least: tuple[int, int] | None = None
    greatest: tuple[int, int] | None = None
    head_dims: tuple[int, ...] = ()
    remote: bool = False
    masks: bool = False
    half: bool = True
    fidelity: Fidelity = Fidelity.EXACT


def _hub(value: str, what: str, **others: object) -> Backend:
    fields = {"needs": _KERNELS, "least": _AMPERE, "remote": True} | others
    return Backend(value=value, what=f"{what}: native code downloaded from the hub", **fields)  # type: ignore[arg-type]


def _sage(value: str, what: str, **others: object) -> Backend:
    fields = {"needs": _SAGE, "least": _AMPERE, "fidelity": Fidelity.BALANCED} | others
    return Backend(value=value, what=what, **fields)  # type: ignore[arg-type]


#: By choice, in the order in which they are offered.
BACKENDS: Mapping[str, Backend] = {
    "native": Backend(
        value="native", what="torch picks the kernel", devices=None, masks=True, half=False
    ),
    # torch's own flash kernel also runs on a CPU; on NVIDIA it needs Ampere.
    "native-flash": Backend(
        value="_native_flash", what="torch's flash attention", devices=None, least=_AMPERE
    ),
    "native-efficient": Backend(
        value="_native_efficient",
        what="torch's memory-efficient attention",
        devices=_GPU,
        masks=True,
        half=False,
    ),
    "native-cudnn": Backend(
        value="_native_cudnn", what="cuDNN attention", least=_AMPERE, masks=True
    ),
    "native-math": Backend(
        value="_native_math", what="plain matrix products", devices=None, masks=True, half=False
    ),
    "flex": Backend(
        value="flex",
        what="torch's flexible attention, slow unless compiled",
        needs=("torch>=2.5",),
        devices=None,
        masks=True,
        half=False,
    ),
    "xformers": Backend(
        value="xformers",
        what="memory-efficient attention of xformers",
        needs=("xformers>=0.0.29",),
        devices=_GPU,
        masks=True,
        half=False,
    ),
    "flash": Backend(
        value="flash", what="flash attention 2", needs=_FLASH, devices=_GPU, least=_AMPERE
    ),
    "flash-varlen": Backend(
        value="flash_varlen",
        what="flash attention 2, padding left out",
        needs=_FLASH,
        devices=_GPU,
        least=_AMPERE,
        masks=True,
    ),
    "flash-3": Backend(
        value="_flash_3",
        what="flash attention 3",
        needs=_FLASH_3,
        least=_HOPPER,
        greatest=_HOPPER,
    ),
    "flash-3-varlen": Backend(
        value="_flash_varlen_3",
        what="flash attention 3, padding left out",
        needs=_FLASH_3,
        least=_HOPPER,
        greatest=_HOPPER,
        masks=True,
    ),
    "flash-hub": _hub("flash_hub", "flash attention 2"),
    "flash-varlen-hub": _hub(
        "flash_varlen_hub", "flash attention 2, padding left out", masks=True
    ),
    "flash-3-hub": _hub("_flash_3_hub", "flash attention 3", least=_HOPPER, greatest=_HOPPER),
    "flash-3-varlen-hub": _hub(
        "_flash_3_varlen_hub",
        "flash attention 3, padding left out",
        least=_HOPPER,
        greatest=_HOPPER,
        masks=True,
    ),
    "flash-4-hub": _hub(
        "flash_4_hub", "flash attention 4", needs=("kernels>=0.12.3",), least=_HOPPER
    ),
    "sage": _sage("sage", "8-bit attention, which changes pictures a little"),
    "sage-varlen": _sage("sage_varlen", "8-bit attention, padding left out", masks=True),
    "sage-hub": _hub("sage_hub", "8-bit attention", fidelity=Fidelity.BALANCED),
    "sage-blackwell-hub": _hub(
        "sage_blackwell_hub",
        "4-bit attention",
        least=_BLACKWELL,
        head_dims=(64, 128),
        fidelity=Fidelity.BALANCED,
    ),
    "sage-int8-fp8": _sage(
        "_sage_qk_int8_pv_fp8_cuda", "int8 scores and fp8 values", least=_HOPPER
    ),
    "sage-int8-fp8-sm90": _sage(
        "_sage_qk_int8_pv_fp8_cuda_sm90",
        "int8 scores and fp8 values, for Hopper",
        least=_HOPPER,
        greatest=_HOPPER,
    ),
    "sage-int8-fp16": _sage("_sage_qk_int8_pv_fp16_cuda", "int8 scores and fp16 values"),
    "sage-int8-fp16-triton": _sage(
        "_sage_qk_int8_pv_fp16_triton", "int8 scores and fp16 values, by Triton"
    ),
    "aiter-hub": _hub("aiter_fa2_hub", "AMD's flash attention", devices=_AMD, least=None),
    "native-npu": Backend(
        value="_native_npu",
        what="attention of Ascend NPUs",
        needs=("torch-npu",),
        devices=(),
        elsewhere="an Ascend NPU",
        masks=True,
    ),
    "native-xla": Backend(
        value="_native_xla",
        what="attention of TPUs",
        needs=("torch-xla>=2.2",),
        devices=(),
        elsewhere="a TPU",
        half=False,
    ),
}


def hub_kernels_problem() -> str | None:
    """Why code from the hub must not be loaded here, unless the owner has allowed it."""
    if os.environ.get(ALLOW_HUB_KERNELS) == "1":
        return None
    return f"runs native code downloaded from the hub: {ALLOW_HUB_KERNELS}=1 would allow it"


def device_problem(backend: Backend, device: Device) -> str | None:
    """Why the device, the installed packages or its owner rule the backend out."""
    if backend.elsewhere:
        return f"needs {backend.elsewhere}, not {device.kind}"
    if backend.devices is not None and device.kind not in backend.devices:
        return f"needs {_WANTED[backend.devices]} {device.kind}"
    return (
        _capability_problem(backend, device)
        or (hub_kernels_problem() if backend.remote else None)
        or next(filter(None, map(_package_problem, backend.needs)), None)
    )


def _capability_problem(backend: Backend, device: Device) -> str | None:
    found = compute_capability(device)
    if found is None:
        return None
    has = f"this card has {device.compute_capability}"
    if backend.least and found < backend.least:
        return f"needs compute capability {_version(backend.least)} or later, {has}"
    if backend.greatest and found > backend.greatest:
        return f"is made for compute capability {_version(backend.greatest)}, {has}"
    return None


def _version(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))


def _package_problem(requirement: str) -> str | None:
    from packaging.requirements import Requirement

    needed = Requirement(requirement)
    try:
        installed = metadata.version(needed.name)
    except metadata.PackageNotFoundError:
        return f"needs the package {requirement}, which is not installed"
    if needed.specifier.contains(installed, prereleases=True):
        return None
    return f"needs the package {requirement}, here is {installed}"
