"""Why a quantizer cannot be had: on a device, with the packages there are, for a component."""

from __future__ import annotations

import functools
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from autotune.errors import one_line
from autotune.levers.mechanisms.capability import older_than
from autotune.levers.mechanisms.quantizers import QUANTIZERS, Quantizer
from autotune.levers.mechanisms.torch_names import is_accelerator, torch_device, torch_module
from autotune.records import Device

#: From which generation of NVIDIA cards on (levers.md A3.3, and the packages' own checks).
_NEEDS = {
    "torchao-int8dq": ((8, 0), "fast integer products"),
    "torchao-int4wo": ((8, 0), "int4 products in tiles"),
    "torchao-fp8dq": ((8, 9), "fp8 arithmetic"),
    "torchao-fp8dq-tensor": ((8, 9), "fp8 arithmetic"),
    "modelopt-fp8": ((8, 9), "fp8 arithmetic"),
}
_NVIDIA_ONLY = ("torchao-int4wo", "modelopt-fp8")
_GPU_ONLY = ("torchao-fp8dq", "torchao-fp8dq-tensor")
#: 8-bit floats and torchao's integer products do not exist there.
_NOT_ON_MPS = ("torchao-fp8wo", "torchao-int8dq", "quanto-fp8", "bnb-int8")
#: Large enough for every group size and kernel there is.
_PROBE_WIDTH, _PROBE_ROWS = 256, 32


def problem(quantizer: Quantizer, library: str, device: Device) -> str | None:
    """Why components of the library cannot be quantized so on the device, as far as names tell."""
    if library not in quantizer.libraries:
        return f"{library} knows no {quantizer.package.partition('>')[0]}"
    return _device_problem(quantizer.id, library, device) or _package_problem(quantizer.package)


def _device_problem(id: str, library: str, device: Device) -> str | None:
    kind = device.kind
    if id.startswith("bnb-") and library == "diffusers" and kind == "cpu":
        return "bitsandbytes quantizes diffusers models on a GPU only"
    if kind == "mps" and id in _NOT_ON_MPS:
        return "it computes in formats that do not exist on mps"
    if id in _NVIDIA_ONLY and kind != "cuda":
        return f"its kernels need an NVIDIA GPU, this is {kind}"
    if id in _GPU_ONLY and kind not in ("cuda", "rocm", "xpu"):
        return f"fp8 arithmetic needs a GPU, this is {kind}"
    return older_than(device, *_NEEDS[id]) if id in _NEEDS else None


def _package_problem(package: str) -> str | None:
    from packaging.requirements import Requirement

    needed = Requirement(package)
    try:
        found = version(needed.name)
    except PackageNotFoundError:
        return f"the package {needed.name} is not installed"
    if needed.specifier.contains(found, prereleases=True):
        return None
    return f"{needed.name} {found} is installed, diffusers needs {needed.specifier}"


def unfit(quantizer: Quantizer, module: Any) -> str | None:
    """Why not one Linear of the module, on the meta device, would be converted."""
    import torch

    linears = [part for part in module.modules() if isinstance(part, torch.nn.Linear)]
    kind = type(module).__name__
    if not linears:
        return f"{kind} has no Linear to quantize"
    wide, tall = quantizer.step
    if any(
        part.in_features % wide == 0
        and part.out_features % tall == 0
        and part.weight.numel() >= quantizer.least
        for part in linears
    ):
        return None
    if quantizer.least:
        return f"no Linear of {kind} has {quantizer.least} weights, fewer are left alone"
    widths = f"{wide} inputs" if tall == 1 else f"{wide} inputs and {tall} outputs"
    return f"no Linear of {kind} has multiples of {widths}, others are left alone"


def proof_problem(quantizer: Quantizer, device: Device) -> str | None:
    """What a small Linear says to being quantized and called, if the device is at hand.

    Names do not tell whether a package was built for this torch, driver and card. Only those with
    native kernels are tried: the others fall back to plain torch.
    """
    package = quantizer.package.partition(">")[0]
    if package not in _PROBES or not _is_at_hand(device):
        return None
    error = _try_out(quantizer.id, torch_device(device))
    return error and f"{package} does not work here: {error}"


def _is_at_hand(device: Device) -> bool:
    if device.kind == "cpu":
        return True
    return is_accelerator(device) and bool(torch_module(device).is_available())


@functools.cache
def _try_out(id: str, device: str) -> str | None:
    import torch

    quantizer = QUANTIZERS[id]
    try:
        config = quantizer.make("diffusers", torch.bfloat16)
        layer = _PROBES[quantizer.package.partition(">")[0]](config, device)
        with torch.no_grad():
            layer(torch.ones(_PROBE_ROWS, _PROBE_WIDTH, dtype=torch.bfloat16, device=device))
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), "")
        return f"{type(error).__name__}: {one_line(first)}".rstrip(".: ")
    return None


def _torchao_layer(config: Any, device: str) -> Any:
    import dataclasses

    import torch
    from torchao.quantization import quantize_

    layer = torch.nn.Linear(_PROBE_WIDTH, _PROBE_WIDTH, dtype=torch.bfloat16, device=device)
    # Only a trial may change how this process compiles.
    quantize_(layer, dataclasses.replace(config.quant_type, set_inductor_config=False))
    return layer


def _bitsandbytes_layer(config: Any, device: str) -> Any:
    import torch
    from bitsandbytes import nn
    from bitsandbytes.cextension import lib

    if torch.device(device).type == "cuda" and not lib.compiled_with_cuda:
        # It would unpack the weights with compiled Python, and take many times as long.
        raise RuntimeError("it found no kernels for this card when it was imported")
    if config.load_in_8bit:
        layer = nn.Linear8bitLt(_PROBE_WIDTH, _PROBE_WIDTH, has_fp16_weights=False)
    else:
        layer = nn.Linear4bit(
            _PROBE_WIDTH,
            _PROBE_WIDTH,
            compute_dtype=config.bnb_4bit_compute_dtype,
            quant_type=config.bnb_4bit_quant_type,
        )
    return layer.to(torch.bfloat16).to(device)


_PROBES = {"torchao": _torchao_layer, "bitsandbytes": _bitsandbytes_layer}
