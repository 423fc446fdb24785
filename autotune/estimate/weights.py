"""Lists the weights of a component from its module on the meta device: no byte of them is read.

Which ones a quantizer leaves alone is decided by the packages' own rules, which differ: what each
does here was read in diffusers 0.42.1, transformers 5.23.0, bitsandbytes 0.50.2, torchao 0.18.0,
optimum-quanto 0.2.7 and sdnq 0.2.8, and is held against really loaded modules by the tests.
"""

from __future__ import annotations

import ast
import copy
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from autotune.estimate.profile import Block, Kind, Tensors, Weights
from autotune.levers.mechanisms.residency import blocks_of

#: What layerwise casting is called among those that leave weights alone.
CASTING = "casting"
#: The formats narrower than fp32 in which models are loaded.
_NARROW = ("bf16", "fp16")
#: Layers with fewer inputs are left alone (sdnq 0.2.8, minimum_allowed_channel_size).
_SDNQ_NARROWEST = 32


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A tensor of a module: its full name, and the module that holds it."""

    name: str
    path: str
    owner: Any
    tensor: Any
    kept: bool
    """Whether it stands in a checkpoint, and takes the format that is asked for."""


#: Whether a package's quantizer leaves the weight of a Linear as it is.
_Spares = Callable[[_Place], bool]


def weights_of(module: Any, *, library: str) -> Weights:
    """List the weights of a component, equal ones as one row; tied ones are there once.

    Args:
        module: The component, on the meta device or not.
        library: Whose class it is: ``diffusers`` or ``transformers``.
    """
    rows = rows_of(module, library)
    by_block: dict[str, Counter[Tensors]] = {f"{name}.": Counter() for name in blocks_of(module)}
    rest: Counter[Tensors] = Counter()
    for name, row in rows.items():
        within = (prefix for prefix in by_block if name.startswith(prefix))
        by_block.get(next(within, ""), rest)[row] += 1
    return Weights(
        class_name=type(module).__name__,
        library=library,
        blocks=_merged(by_block),
        rest=_counted(rest),
        fused=_counted(_fused(module, library, Counter(rows.values()))),
    )


def _merged(by_block: Mapping[str, Counter[Tensors]]) -> tuple[Block, ...]:
    """Blocks that are made of the same weights become one, under the name of the first."""
    found: dict[tuple[Tensors, ...], list[str]] = {}
    for prefix, counts in by_block.items():
        found.setdefault(_counted(counts), []).append(prefix.removesuffix("."))
    return tuple(
        Block(name=names[0], count=len(names), tensors=tensors)
        for tensors, names in found.items()
        if tensors
    )


def _counted(rows: Counter[Tensors]) -> tuple[Tensors, ...]:
    return tuple(row.but(count=count) for row, count in rows.items())


def _fused(module: Any, library: str, before: Counter[Tensors]) -> Counter[Tensors]:
    """What ``fuse_qkv_projections`` adds, found by doing it to a copy."""
    if not hasattr(module, "fuse_qkv_projections"):
        return Counter()
    tried = copy.deepcopy(module)
    try:
        tried.fuse_qkv_projections()
    except (AttributeError, ValueError):
        return Counter()  # the lever says why not, and has no such choice
    return Counter(rows_of(tried, library).values()) - before


def rows_of(module: Any, library: str) -> dict[str, Tensors]:
    """Each tensor by its full name, as a row of its own."""
    places = list(_places(module))
    fp32 = _kept_in_fp32(module, library)
    born = _born(module, library, places)
    spares = _SPARES.get(library, _nothing)(module)
    cast = set(_cast_layers(module))
    rows = {}
    for place in places:
        linear = _kind(place) == "linear"
        whole = [package for package, spare in spares.items() if linear and spare(place)]
        if place.path not in cast or not place.tensor.is_floating_point():
            whole.append(CASTING)
        number_bytes = born.get(place.name)
        rows[place.name] = Tensors(
            kind=_kind(place),
            shape=tuple(place.tensor.shape),
            fp32=() if number_bytes else fp32(place.name),
            number_bytes=number_bytes,
            whole=tuple(whole),
        )
    return rows


def _places(module: Any) -> Iterator[_Place]:
    seen: set[int] = set()
    for path, owner in module.named_modules():
        left_out = owner._non_persistent_buffers_set
        for attribute, tensor in (*owner._parameters.items(), *owner._buffers.items()):
            if tensor is None or id(tensor) in seen:
                continue
            seen.add(id(tensor))
            yield _Place(
                name=f"{path}.{attribute}" if path else attribute,
                path=path,
                owner=owner,
                tensor=tensor,
                kept=attribute not in left_out,
            )


def _kind(place: _Place) -> Kind:
    from torch import nn
    from torch.nn.modules.conv import _ConvNd

    if place.name.rpartition(".")[2] != "weight":
        return "other"
    kinds: Mapping[Kind, type] = {
        "linear": nn.Linear,
        "convolution": _ConvNd,
        "embedding": nn.Embedding,
    }
    found = (kind for kind, cls in kinds.items() if isinstance(place.owner, cls))
    return next(found, "other")


# ----------------------------------------------------------------------------- formats that stay


def _kept_in_fp32(module: Any, library: str) -> Callable[[str], tuple[str, ...]]:
    """By a tensor's name, the formats of loading in which it is a 32-bit float all the same.

    diffusers keeps a name that has one of its words, whatever the format
    (models/model_loading_utils.py). transformers looks for its patterns anywhere in a name, and
    has some for fp16 alone, T5's ``wo`` for one (modeling_utils.py, _get_dtype_plan).
    """
    words = getattr(module, "_keep_in_fp32_modules", None) or ()
    strict = getattr(module, "_keep_in_fp32_modules_strict", None) or ()
    if library == "diffusers":
        return lambda name: _NARROW if set(name.split(".")) & set(words) else ()

    def kept(name: str) -> tuple[str, ...]:
        if any(re.search(key.replace("*", ".*"), name) for key in strict):
            return _NARROW
        found = any(re.search(key.replace("*", ".*"), name) for key in words)
        return ("fp16",) if found else ()

    return kept


def _born(module: Any, library: str, places: Iterable[_Place]) -> dict[str, int]:
    """Bytes of a number by name, of the tensors whose format is no matter of what is asked for.

    Both libraries build a model in the format asked for, and what no checkpoint holds is as its
    class makes it: some tables follow that format, others are always fp32, or fp64. Building it
    once more in a narrow format tells. transformers leaves parameters so too.
    """
    always = library == "transformers"
    stay, asked = {}, []
    for place in places:
        if not place.tensor.is_floating_point():
            stay[place.name] = place.tensor.element_size()
        elif always or not place.kept:
            asked.append(place.name)
    if asked:
        narrow = _built_narrow(module, library)
        for name in asked:
            size = narrow.get(name, 0)
            if size > 2:
                stay[name] = size
    return stay


def _built_narrow(module: Any, library: str) -> dict[str, int]:
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("meta"):
            if library == "diffusers":
                built = type(module).from_config(module.config)
            else:
                built = type(module)(_narrow_config(module.config))
    finally:
        torch.set_default_dtype(before)
    return {place.name: place.tensor.element_size() for place in _places(built)}


def _narrow_config(config: Any) -> Any:
    """The configuration as ``from_pretrained`` changes it: models in a model go by its format."""
    import torch

    config = copy.deepcopy(config)
    for one in (config, *(getattr(config, name, None) for name in config.sub_configs)):
        if one is not None:
            one.dtype = torch.bfloat16
    return config


# ------------------------------------------------------------------------------ layerwise casting


def _cast_layers(module: Any) -> Iterator[str]:
    """The layers whose weights and biases are cast, by path (hooks/layerwise_casting.py)."""
    from diffusers.hooks._common import _GO_LC_SUPPORTED_PYTORCH_LAYERS
    from diffusers.hooks.layerwise_casting import DEFAULT_SKIP_MODULES_PATTERN

    patterns = (
        *DEFAULT_SKIP_MODULES_PATTERN,
        *(getattr(module, "_keep_in_fp32_modules", None) or ()),
        *(getattr(module, "_skip_layerwise_casting_patterns", None) or ()),
    )

    def below(path: str, part: Any) -> Iterator[str]:
        if any(re.search(pattern, path) for pattern in patterns):
            return
        if isinstance(part, _GO_LC_SUPPORTED_PYTORCH_LAYERS):
            yield path
            return
        for name, child in part.named_children():
            yield from below(f"{path}.{name}" if path else name, child)

    return below("", module)


# --------------------------------------------------------------------- what quantizers leave alone


def _nothing(module: Any) -> Mapping[str, _Spares]:
    return {}


def _diffusers_spares(module: Any) -> Mapping[str, _Spares]:
    """By package, what diffusers' quantizers (quantizers/*/) leave alone, each in its own way."""
    keep = tuple(getattr(module, "_keep_in_fp32_modules", None) or ())
    return {
        # bitsandbytes/utils.py, _replace_with_bnb_linear
        "bitsandbytes": lambda one: (
            one.path.rpartition(".")[2] in keep
            or any(f"{key}." in one.path or key == one.path for key in keep)
        ),
        # torchao_quantizer.py, check_if_quantized_param
        "torchao": lambda one: (
            _never_dynamic(one) or any(f"{key}." in one.name or key == one.name for key in keep)
        ),
        # quanto/utils.py compares a layer's own name alone: what a kept module holds is converted
        "optimum-quanto": lambda one: one.path.rpartition(".")[2] in keep,
        "sdnq": _sdnq_spares(module, keep),
        # modelopt_quantizer.py makes patterns with a star at both ends
        "nvidia-modelopt": lambda one: any(key in one.name for key in keep),
    }


def _transformers_spares(module: Any) -> Mapping[str, _Spares]:
    """By package, what transformers' quantizers leave alone: tied ones, outputs, the last one.

    bitsandbytes and quanto compare the names of layers, torchao those of weights, whose ends no
    key of a layer meets: T5's ``wo`` is spared by the former alone (quantizers_utils.py).
    """
    from torch import nn
    from transformers.quantizers.base import get_keys_to_not_convert
    from transformers.quantizers.quantizers_utils import should_convert_module

    keep = sorted(getattr(module, "_keep_in_fp32_modules", None) or ())
    keys = [*get_keys_to_not_convert(module), *keep]
    return {
        # integrations/bitsandbytes.py: no class derived from Linear
        "bitsandbytes": lambda one: (
            type(one.owner) is not nn.Linear or not should_convert_module(one.path, keys)
        ),
        "torchao": lambda one: _never_dynamic(one) or not should_convert_module(one.name, keys),
        "optimum-quanto": lambda one: not should_convert_module(one.path, keys),
        "sdnq": _sdnq_spares(module, keys),
    }


_SPARES: Mapping[str, Callable[[Any], Mapping[str, _Spares]]] = {
    "diffusers": _diffusers_spares,
    "transformers": _transformers_spares,
}


def _never_dynamic(place: _Place) -> bool:
    """A kind of Linear that torchao passes by (quantization/quant_api.py, _is_linear)."""
    from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

    return isinstance(place.owner, NonDynamicallyQuantizableLinear)


def _sdnq_spares(module: Any, keep: Collection[str]) -> _Spares:
    """What SDNQ leaves alone: lists of its own by class, or what it finds in most models.

    As ``add_module_skip_keys`` and ``check_quant_is_allowed`` of its utils.py.
    """
    common, by_class = sdnq_lists()
    tied = getattr(module, "_tied_weights_keys", None) or {}
    keys = [*keep, *tied, *(tied.values() if isinstance(tied, dict) else ())]
    listed = by_class.get(type(module).__name__)
    if listed is not None:
        keys += listed
    else:
        keys += [*common, *(getattr(module, "_skip_layerwise_casting_patterns", None) or ())]

    def spared(place: _Place) -> bool:
        return (
            type(place.owner).__name__ != "Linear"
            or place.tensor.shape[-1] < _SDNQ_NARROWEST
            or any(_sdnq_names(key, place.name) for key in keys)
        )

    return spared


def _sdnq_names(key: str, name: str) -> bool:
    """Whether a key of SDNQ's lists means the weight (utils.py, check_param_name_in)."""
    if key.startswith("."):
        return name.startswith(key[1:])
    pattern = key.replace(".*", "\\.*").replace("*", ".*")
    return name == key or key in name.split(".") or ("*" in key and bool(re.match(pattern, name)))


@cache
def sdnq_lists() -> tuple[tuple[str, ...], Mapping[str, list[str]]]:
    """SDNQ's lists of what it leaves alone, read and not imported: that compiles for ten seconds.

    The one for classes it does not know, then by class. Empty where it is not installed.
    """
    found = find_spec("sdnq")
    if found is None or found.origin is None:
        return (), {}
    common: tuple[str, ...] = ()
    by_class: dict[str, list[str]] = {}
    for line in ast.parse(Path(found.origin).with_name("common.py").read_text("utf-8")).body:
        match line:
            case ast.Assign(targets=[ast.Name(id="common_skip_keys")]):
                common = ast.literal_eval(line.value)
            case ast.Assign(targets=[ast.Name(id="module_skip_keys_dict")]):
                by_class |= {key: row[0] for key, row in ast.literal_eval(line.value).items()}
            case ast.Assign(
                targets=[ast.Subscript(value=ast.Name(id="module_skip_keys_dict"), slice=new)],
                value=ast.Subscript(slice=old),
            ):
                by_class[ast.literal_eval(new)] = by_class[ast.literal_eval(old)]
    return common, by_class
