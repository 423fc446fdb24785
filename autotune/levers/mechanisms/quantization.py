"""What the levers that quantize components have in common: offer, set, tell, prove."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autotune.errors import BadInput
from autotune.files import read_capped
from autotune.levers.base import ChoiceMaker, ModelView, Target
from autotune.levers.mechanisms.bitsandbytes_packing import (
    UNPACKED,
    repack_only_what_divides,
)
from autotune.levers.mechanisms.converted import count_converted
from autotune.levers.mechanisms.quantizer_configs import modules_of
from autotune.levers.mechanisms.quantizer_limits import problem, proof_problem, unfit
from autotune.levers.mechanisms.quantizers import QUANTIZERS, Quantizer
from autotune.levers.mechanisms.quanto_unpacking import unpack_without_extension
from autotune.levers.script import Script, Untold
from autotune.records import Choice, Device, Evidence, Model
from autotune.strict_json import parse_json

NONE = "none"
_REPACKED = ("bnb-nf4", "bnb-fp4")
#: The largest configuration of a published component has some 20 KB.
_CONFIG_BYTES = 1 << 20


def offer(
    lever: str,
    device: Device,
    view: ModelView | None,
    components: Sequence[str],
    *,
    library: str,
    missing: str,
) -> Sequence[Choice]:
    """Every quantizer, with the reason why the components cannot have it.

    Args:
        lever: Whose choices they are.
        device: What trials run on.
        view: The model, if there is one.
        components: What would be quantized.
        library: Whose classes such components are, as long as no model is known.
        missing: Why there is nothing to quantize if there are no components.
    """
    choice = ChoiceMaker(lever=lever)
    offered = [choice(NONE, "weights as they are stored", baseline=True)]
    for quantizer in QUANTIZERS.values():
        if view is None:
            reason = problem(quantizer, library, device)
        elif not components:
            reason = missing
        else:
            found = (_problem(quantizer, device, view, name) for name in components)
            reason = next(filter(None, found), None) or proof_problem(quantizer, device)
        offered.append(
            choice(quantizer.id, quantizer.what, unless=reason, fidelity=quantizer.fidelity)
        )
    return offered


def quantize(target: Target, components: Sequence[str], choice: str) -> None:
    """Ask for the quantizer when the components are loaded.

    Computed is in the format the candidate loads in: a format of its own would make products of
    two formats, and bitsandbytes' own default is fp32 (levers.md B36, B37).
    """
    if choice == NONE:
        return
    import torch

    quantizer = QUANTIZERS[choice]
    dtype = target.load_arguments.get("dtype", torch.float32)
    for name in components:
        part = target.model.component(name)
        assert part is not None
        target.quantization[name] = quantizer.make(part.library, dtype)
    if components and quantizer.package.startswith("torchao"):
        _set_inductor()
    if components and quantizer.package.startswith("optimum-quanto"):
        unpack_without_extension()
    if components and choice in _REPACKED:
        repack_only_what_divides()


def tell(script: Script, components: Sequence[str], choice: str) -> Script:
    """A script that loads the components so."""
    if choice == NONE:
        return script
    quantizer = QUANTIZERS[choice]
    for name in components:
        part = script.model.component(name)
        if part is None:
            raise Untold(f"it is not known what {name} is")
        if part.library not in quantizer.libraries:
            raise Untold(f"{part.class_name} is a class of {part.library}, which cannot load it")
        configuration = quantizer.configuration(part.library, script.dtype)
        script = script.but(quantization={**script.quantization, name: configuration})
        script = script.importing(*modules_of(configuration))
        if choice in _REPACKED and script.device == "cpu":
            script = script.importing("bitsandbytes").then(UNPACKED.format(part=f"pipe.{name}"))
    return script


def _set_inductor() -> None:
    """Compile as torchao asks for.

    Quantizing with torchao sets options of inductor for the whole process: without
    ``force_fuse_int_mm_with_mul`` its compiled integer products are slow. Weights that were
    quantized by an earlier trial do not go through it again, and the same candidate must not
    compile in two ways. A trial is a process of its own, so the next one starts without.
    """
    from torchao.quantization.utils import recommended_inductor_config_setter

    recommended_inductor_config_setter()


def prove(target: Target, components: Sequence[str], choice: str) -> Evidence:
    """Count the Linears of each component that the quantizer converted.

    Of a component some may have been left alone; most of those that are quantized must be so.
    """
    sentences, taken = [], []
    for name in components:
        module = getattr(target.pipe, name, None)
        if not hasattr(module, "modules"):
            sentences.append(f"{name} is not in the pipeline")
            taken.append(choice == NONE)
            continue
        found = count_converted(module)
        sentences.append(f"{name}: {found}{_origin(target, module)}")
        most = [label for label, _ in found.labels.most_common(1)]
        wanted = [] if choice == NONE else [QUANTIZERS[choice].mark]
        taken.append(
            most == wanted or (choice == NONE and is_stored_quantized(target.model, name))
        )
    return Evidence(
        engaged=all(taken) and (choice == NONE or bool(taken)),
        detail="; ".join(sentences) or "there is nothing to quantize",
    )


def unpacking_s(choice: str) -> float:
    """Seconds that building or compiling what unpacks the weights adds to the first call."""
    return QUANTIZERS[choice].start_up_s if choice in QUANTIZERS else 0.0


def is_stored_quantized(model: Model, component: str) -> bool:
    """Whether the component's own configuration says that its weights are quantized."""
    if not model.folder:
        return False
    path = Path(model.folder, component, "config.json")
    try:
        config = parse_json(read_capped(path, _CONFIG_BYTES), what=str(path), max_list=1_000_000)
    except BadInput:
        return False  # whoever loads it says it better
    return isinstance(config, dict) and "quantization_config" in config


def _problem(quantizer: Quantizer, device: Device, view: ModelView, name: str) -> str | None:
    part = view.record.component(name)
    assert part is not None
    if part.library not in ("diffusers", "transformers"):
        return f"{part.class_name} is a class of {part.library}, which quantizes nothing"
    reason = problem(quantizer, part.library, device)
    if reason is None and is_stored_quantized(view.record, name):
        reason = f"the weights of {name} are stored quantized already"
    return reason or unfit(quantizer, view.module(name))


def _origin(target: Target, module: Any) -> str:
    """Where the weights were quantized, if it was not here."""
    config = getattr(module, "config", None)
    found = dict(config).get("_name_or_path") if isinstance(config, dict) else None
    source = found or getattr(module, "name_or_path", None)
    if target.prepared is None or not source:
        return ""
    kept = Path(str(source)).parent == target.prepared
    return ", kept from an earlier trial" if kept else ""
