"""checkpoint: take the denoiser from a file the user gave, quantized before autotune saw it.

GGUF, SVDQuant (diffusers' Nunchaku Lite), AutoRound and the fp8 and nvfp4 files of Black Forest
Labs exist as files only: nothing on this machine can make one (levers.md A3.2). A choice is there
once such a file was named with ``--checkpoint``, and stands in recipes with the file's digest.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from autotune.levers.base import ChoiceMaker, ModelView, Target
from autotune.levers.mechanisms.capability import compute_capability
from autotune.levers.plan import Plan
from autotune.levers.script import Name, Script, Untold, call
from autotune.records import Choice, Device, Evidence, Fidelity, Given, Stage

name = "checkpoint"
what = "where the denoiser's weights come from"
stage = Stage.LOAD

_WHAT = {
    "gguf": "a GGUF file: weights dequantized in every call",
    "svdquant": "SVDQuant: 4-bit weights and activations, by native code from the hub",
    "bfl": "an fp8 or nvfp4 file of Black Forest Labs: dequantized where the GPU lacks the format",
    "auto-round": "AutoRound: 4-bit weights",
}
#: How what is missing is asked for.
_FORM = {
    "gguf": "GGUF file of the denoiser was given (--checkpoint denoiser=FILE.gguf)",
    "svdquant": "folder of a Nunchaku Lite denoiser was given (--checkpoint denoiser=FOLDER)",
    "bfl": "fp8 or nvfp4 file of the denoiser was given (--checkpoint denoiser=FILE.safetensors)",
    "auto-round": "folder of an AutoRound denoiser was given (--checkpoint denoiser=FOLDER)",
}
_SINGLE_FILES = ("gguf", "bfl")
#: What diffusers calls the configuration that reads each.
_CONFIGURATION = {"gguf": "GGUFQuantizationConfig", "bfl": "BFLQuantizationConfig"}
_PACKAGE = {"gguf": "gguf", "svdquant": "kernels", "auto-round": "auto_round"}
#: Where the modules come from that a denoiser of each kind is made of.
_ORIGIN = {
    "gguf": "diffusers.quantizers.gguf",
    "svdquant": "diffusers.quantizers.nunchaku",
    "bfl": "diffusers.quantizers.bfl",
    "auto-round": "auto_round",
}
#: The owner of the machine says with it that code from the hub may run here; a recipe cannot (R5).
_TRUST = "DIFFUSERS_TRUST_REMOTE_KERNELS"
_UNTRUSTED = f"SVDQuant's kernels are native code from the hub, and {_TRUST} is not set to true"
_HOPPER, _TURING, _BLACKWELL = 9, (7, 5), (10, 0)
#: Types that lose next to nothing: 8 bits with a scale for every 32 numbers, and plain floats.
_NEAR_LOSSLESS = frozenset(("Q8_0", "BF16", "F16", "F32"))


def choices(device: Device, view: ModelView | None) -> Sequence[Choice]:
    """The model's own weights, or a file of one of four kinds."""
    choice = ChoiceMaker(lever=name)
    return (
        choice("own", "the model's own weights", baseline=True),
        *(
            choice(kind, what, unless=_problem(kind, device, view), fidelity=_fidelity(kind, view))
            for kind, what in _WHAT.items()
        ),
    )


def apply(target: Target, choice: str) -> None:
    """Load what was given for each denoiser, and hand it to the pipeline's ``from_pretrained``."""
    if choice == "own":
        return
    given = target.model.given_as(choice)
    if not given:
        raise ValueError(f"no {_FORM[choice]}")
    for one in given:
        target.load_arguments[one.component] = _load(target, one)


def engaged(target: Target, choice: str) -> Evidence:
    """The denoisers that something was given for hold its modules with packed weights in them."""
    counts = {part: _count(module) for part, module in target.denoisers.items()}
    detail = "; ".join(f"{part}: {_listed(count)}" for part, count in counts.items())
    if choice == "own":
        # A folder that is quantized itself holds such modules too: then it says where it is from.
        strange = [
            part for part, count in counts.items() if count.packed and not _is_own(target, part)
        ]
        return Evidence(engaged=not strange, detail=detail)
    named = [one.component for one in target.model.given_as(choice)]
    taken = [bool(part in counts and counts[part].packed[choice]) for part in named or counts]
    return Evidence(engaged=any(taken) and (all(taken) or not named), detail=detail)


def code(script: Script, choice: str) -> Script:
    """What was given for each denoiser, loaded by itself.

    Raises:
        Untold: If it is not known where it lies, or native code from the hub is not allowed.
    """
    if choice == "own":
        return script
    given = script.model.given_as(choice)
    if not given:
        raise Untold(f"it is not known where it lies: no {_FORM[choice]}")
    if choice == "svdquant" and not _trusted():
        raise Untold(_UNTRUSTED)
    for one in given:
        kind = f"diffusers.{script.class_of(one.component)}"
        if one.kind not in _SINGLE_FILES:
            loaded = call(
                f"{kind}.from_pretrained", one.path, dtype=script.dtype, use_safetensors=True
            )
        else:
            configuration = f"diffusers.{_CONFIGURATION[one.kind]}"
            loaded = call(
                f"{kind}.from_single_file",
                one.path,
                quantization_config=call(configuration, compute_dtype=script.dtype),
                config=Name("MODEL"),
                subfolder=one.component,
                dtype=script.dtype,
                **script.pinned,
            )
        script = script.loading(**{one.component: loaded})
    return script


def plan(plan: Plan, choice: str) -> Plan:
    """What was given, as it lies in its file."""
    for one in plan.model.given_as(choice):
        plan = plan.with_parts([one.component], file_bytes=one.weight_bytes)
    return plan


def _problem(kind: str, device: Device, view: ModelView | None) -> str | None:
    problem = _device_problem(kind, device) or _package_problem(kind)
    if problem or view is None:
        return problem
    given = view.record.given_as(kind)
    if not given:
        return f"no {_FORM[kind]}"
    module = view.module(given[0].component)
    if kind in _SINGLE_FILES and not _loads_single_files(module):
        return f"diffusers cannot load a {type(module).__name__} from a single file"
    return _formats_problem(kind, device, given)


def _device_problem(kind: str, device: Device) -> str | None:
    if kind == "bfl" and device.kind == "mps":
        return "8-bit floats do not exist on mps"
    if kind == "auto-round" and device.kind not in ("cuda", "xpu", "cpu"):
        return f"AutoRound has no kernels for {device.kind}"
    if kind != "svdquant":
        return None
    if device.kind != "cuda":
        return f"SVDQuant's kernels need an NVIDIA GPU, this is {device.kind}"
    found = compute_capability(device)
    if found and (found[0] == _HOPPER or found < _TURING):
        return f"SVDQuant has no kernels for compute capability {device.compute_capability}"
    return None


def _package_problem(kind: str) -> str | None:
    package = _PACKAGE.get(kind)
    if package and find_spec(package) is None:
        return f"the package {package.replace('_', '-')} is not installed"
    return _UNTRUSTED if kind == "svdquant" and not _trusted() else None


def _trusted() -> bool:
    return os.environ.get(_TRUST, "").upper() in ("1", "ON", "YES", "TRUE")


def _formats_problem(kind: str, device: Device, given: Sequence[Given]) -> str | None:
    formats = {format for one in given for format in one.formats}
    found = compute_capability(device)
    if kind == "svdquant" and "nvfp4" in formats and found and found < _BLACKWELL:
        return f"nvfp4 needs compute capability 10.0, this is {device.compute_capability}"
    if kind == "gguf":
        from diffusers.quantizers.gguf.utils import SUPPORTED_GGUF_QUANT_TYPES

        known = {type.name for type in SUPPORTED_GGUF_QUANT_TYPES} | {"F32", "F16"}
        if strange := sorted(formats - known):
            return f"diffusers cannot read the GGUF type {strange[0]}"
    return None


def _fidelity(kind: str, view: ModelView | None) -> Fidelity:
    given = view.record.given_as(kind) if view and kind == "gguf" else ()
    formats = {format for one in given for format in one.formats}
    return Fidelity.CLOSE if formats and formats <= _NEAR_LOSSLESS else Fidelity.BALANCED


def _loads_single_files(module: Any) -> bool:
    from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES

    return any(base.__name__ in SINGLE_FILE_LOADABLE_CLASSES for base in type(module).__mro__)


def _load(target: Target, one: Given) -> Any:
    import diffusers
    import torch

    part = target.model.component(one.component)
    assert part is not None
    kind = getattr(diffusers, part.class_name)
    dtype = target.load_arguments.get("dtype", torch.float32)
    if one.kind not in _SINGLE_FILES:
        return kind.from_pretrained(
            one.path, dtype=dtype, local_files_only=True, use_safetensors=True
        )
    configuration = getattr(diffusers, _CONFIGURATION[one.kind])
    try:
        return kind.from_single_file(
            one.path,
            quantization_config=configuration(compute_dtype=dtype),
            # The model's own configuration: the hub must not be asked which model it may be.
            config=target.model.folder,
            subfolder=one.component,
            dtype=dtype,
            local_files_only=True,
        )
    except (KeyError, IndexError, NotImplementedError) as error:
        # diffusers looks for the names of another layout, or finds nothing to put in their place.
        raise ValueError(f"the file lacks weights of a {part.class_name}: {error!r}") from error


@dataclass(frozen=True, kw_only=True)
class _Count:
    """The Linears of a denoiser, and by kind those whose weights lie in memory as in a file."""

    linears: int
    packed: Counter[str]


def _count(module: Any) -> _Count:
    import torch

    packed = Counter[str]()
    linears = 0
    for part in module.modules():
        kind = _kind_of(part)
        packed.update([kind] if kind else [])
        linears += bool(kind) or isinstance(part, torch.nn.Linear)
    return _Count(linears=linears, packed=packed)


def _kind_of(part: Any) -> str | None:
    """Which kind of file the module and its packed weight were made from, if any."""
    origin = f"{type(part).__module__}."
    weight = getattr(part, "qweight", getattr(part, "weight", None))
    if weight is None:
        return None
    # GGUF's say their type themselves; BF16 is one of them.
    few_bits = weight.element_size() == 1 or not weight.is_floating_point()
    if not few_bits and getattr(weight, "quant_type", None) is None:
        return None
    return next((kind for kind, home in _ORIGIN.items() if origin.startswith(f"{home}.")), None)


def _listed(count: _Count) -> str:
    kinds = ", ".join(f"{number} {kind}" for kind, number in count.packed.items())
    return f"of {count.linears} Linears {kinds or 'none is from a file'}"


def _is_own(target: Target, part: str) -> bool:
    source = dict(getattr(target.denoisers[part], "config", {})).get("_name_or_path")
    return bool(target.model.folder) and source == str(Path(target.model.folder, part))
