"""matmul-precision: how exactly products of fp32 matrices are computed.

``high`` is TF32 on NVIDIA cards from Ampere on; ``medium`` is bf16 on some processors and the same
as ``high`` on NVIDIA cards (torch 2.13). It holds for the process, and does something only where
fp32 is computed in (rule ``precision-needs-fp32``). On a CPU the setting is always accepted and
obeyed by few: a product is computed both ways and compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autotune.levers.base import ChoiceMaker, ModelView, Target
from autotune.levers.mechanisms.capability import AMPERE, older_than
from autotune.levers.script import Script, call
from autotune.records import Choice, Device, DeviceKind, Evidence, Fidelity, Stage

name = "matmul-precision"
what = "precision of fp32 matrix products"
# Not while loading: it can be set on a pipeline that is loaded.
stage = Stage.BUILD

#: On a side of the product that is tried. oneDNN takes its fast path for large ones only: on a
#: processor with AVX-512 a product of 256 is the same at every setting, one of 512 is not (seen).
_SIDE = 512
_TORCH_KIND: dict[DeviceKind, str] = {"cuda": "cuda", "cpu": "cpu"}


def choices(device: Device, view: ModelView | None) -> Sequence[Choice]:
    """The exact product and two faster ones."""
    choice = ChoiceMaker(lever=name)

    def problem(precision: str) -> str | None:
        if device.kind not in _TORCH_KIND:
            return f"known to act on NVIDIA cards and some processors, this is {device.kind}"
        if device.kind == "cpu":
            # Without a model nothing heavy is imported.
            changes = view is None or _deviation("cpu", precision) > 0
            return None if changes else "this processor computes it alike at every setting"
        if precision == "medium":
            return "NVIDIA cards compute it exactly as high"
        return older_than(device, AMPERE, "TF32")

    return (
        choice("highest", "all 24 bits", baseline=True),
        choice(
            "high",
            "TF32 or two bf16 products",
            unless=problem("high"),
            fidelity=Fidelity.CLOSE,
        ),
        choice(
            "medium",
            "bf16 products, summed in fp32",
            unless=problem("medium"),
            fidelity=Fidelity.CLOSE,
        ),
    )


def apply(target: Target, choice: str) -> None:
    """Set it for the process."""
    import torch

    torch.set_float32_matmul_precision(choice)


def engaged(target: Target, choice: str) -> Evidence:
    """The setting stands, changes a product, and there is a component that computes in fp32."""
    import torch

    stands = torch.get_float32_matmul_precision()
    if choice == "highest":
        return Evidence(engaged=stands == choice, detail=f"set to {stands}")
    deviation = _deviation(_TORCH_KIND.get(target.device.kind, "cpu"), stands)
    parts = dict(target.denoisers) | ({"vae": target.vae} if target.vae is not None else {})
    exact = [part for part, module in parts.items() if _is_in_fp32(module)]
    return Evidence(
        engaged=stands == choice and deviation > 0 and bool(exact),
        detail=f"set to {stands}, a product deviates by up to {deviation:.1e}, "
        f"in fp32: {', '.join(exact) or 'nothing'}",
    )


def code(script: Script, choice: str) -> Script:
    """A setting of torch's; a process starts with the highest."""
    if choice == "highest":
        return script
    return script.then(call("torch.set_float32_matmul_precision", choice))


def _is_in_fp32(module: Any) -> bool:
    """Whether most parameters are, those of a byte aside, which are only stored so.

    Some families keep a few in fp32 whatever is asked for.
    """
    import torch

    wide = [one for one in module.parameters() if one.element_size() > 1]
    exact = sum(int(one.numel()) for one in wide if one.dtype is torch.float32)
    return exact * 2 > sum(int(one.numel()) for one in wide)


def _deviation(kind: str, precision: str) -> float:
    """How far a product at this precision lies from the exact one; the setting is put back."""
    import torch

    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(_SIDE, _SIDE, generator=generator).to(kind) for _ in range(2))
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        fast = left @ right
        torch.set_float32_matmul_precision("highest")
        return float((fast - left @ right).abs().max())
    finally:
        torch.set_float32_matmul_precision(before)
