"""What a pipeline's ``from_pretrained`` is given so that its components come quantized."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

from autotune.levers.base import Target
from autotune.levers.mechanisms.torch_names import is_accelerator, torch_device
from autotune.trial.prepared import PACKED_ON_DEVICE, load_component, number_format, restore


def quantization_arguments(target: Target) -> dict[str, Any]:
    """One configuration for what is to be quantized, and what is there already.

    What a lever loaded by itself stays as it is.
    """
    import diffusers

    if not target.quantization:
        return {}
    arguments: dict[str, Any] = {}
    if "dtype" not in target.load_arguments:
        arguments["dtype"] = number_format(target)
    mapping = {}
    for name, config in target.quantization.items():
        if name in target.load_arguments:
            continue
        # Loading writes into a configuration, and the key of what is kept is made from it.
        config = deepcopy(config)
        found = restore(target, name) or _load_on_device(target, name, config)
        if found is None:
            mapping[name] = config
        else:
            arguments[name] = found
    if mapping:
        arguments["quantization_config"] = diffusers.PipelineQuantizationConfig(
            quant_mapping=mapping
        )
    return arguments


def _load_on_device(target: Target, name: str, config: Any) -> Any:
    kind = type(getattr(config, "quant_type", None)).__name__
    if kind not in PACKED_ON_DEVICE or not is_accelerator(target.device):
        return None
    return load_component(
        target,
        name,
        Path(target.model.folder, name),
        quantization_config=config,
        device_map={"": torch_device(target.device)},
    )
