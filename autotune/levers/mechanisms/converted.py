"""Which Linears of a module are quantized, and how: read from the modules themselves.

Quantizers leave layers alone without a word (widths that do not divide, small layers, lists of
names), so that only counting shows what was done (levers.md A3.4, B38).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Converted:
    """The Linears of a module, and by label those that are quantized."""

    linears: int
    labels: Counter[str]

    def __str__(self) -> str:
        if not self.labels:
            return f"0 of {self.linears} Linears are quantized"
        (most, count), *others = self.labels.most_common()
        listed = "".join(f", {number} {label}" for label, number in others)
        return f"{count} of {self.linears} Linears are {most}{listed}"


def count_converted(module: Any) -> Converted:
    """Count the Linears of a component."""
    import torch

    linears, labels = 0, Counter[str]()
    for part in module.modules():
        found = label(part)
        linears += found is not None or isinstance(part, torch.nn.Linear)
        labels.update([found] if found else [])
    return Converted(linears=linears, labels=labels)


def label(module: Any) -> str | None:
    """By which quantizer the module's weight is packed, and how; ``None`` if it is not."""
    weight = getattr(module, "weight", None)
    if weight is None:
        return None
    owner = type(module).__module__.partition(".")[0]
    if owner == "bitsandbytes":
        return _bitsandbytes(weight)
    if owner == "optimum":
        return f"quanto {module.weight_qtype.name}" if module.frozen else None
    if owner == "sdnq":
        unpacking = module.sdnq_dequantizer
        products = ", integer products" if unpacking.use_quantized_matmul else ""
        return f"sdnq {unpacking.weights_dtype}{products}"
    kind = type(weight)
    home = kind.__module__.partition(".")[0]
    if home == "torchao":
        activations = getattr(weight, "act_quant_kwargs", None)
        by = f", activations by {type(activations.granularity).__name__}" if activations else ""
        return f"torchao {kind.__name__}{by}"
    return "modelopt" if "modelopt" in (owner, home) and not weight.is_floating_point() else None


def _bitsandbytes(weight: Any) -> str | None:
    import torch

    if weight.dtype is torch.int8:
        return "bitsandbytes int8"
    state = getattr(weight, "quant_state", None)
    return f"bitsandbytes {state.quant_type}" if state is not None else None
