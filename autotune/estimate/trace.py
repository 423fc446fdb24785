"""Run a model's pipeline without its weights, and count every call of its components.

The pipeline is the real one, with its scheduler, its guidance and its tokenizers. Its components
are on the meta device: each call goes there, and zeros of the right shapes come back.
"""

from __future__ import annotations

import copy
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from autotune.estimate.profile import Call, Profile, Work
from autotune.estimate.tiles import tiled_call
from autotune.estimate.weights import weights_of
from autotune.levers.mechanisms.residency import blocks_of
from autotune.models.catalog import find
from autotune.records import Device, Model, Workload

#: Larger ones come back as one zero seen many times: a video is gigabytes.
_REAL_BYTES = 32 << 20


class Structure(Protocol):
    """Components on the meta device, and what has no weights (schedulers, tokenizers)."""

    def module(self, component: str) -> Any:
        """See ModelView."""

    def others(self, place: Path) -> Mapping[str, Any]:
        """What a pipeline needs beside its modules; ``place`` is for what is made for it."""


#: Makes the call of a pipeline for a workload, as trials make it.
Caller = Callable[[Any, Workload], Callable[[int], Any]]


class _Decoded(BaseException):
    """All has been seen. Not an Exception: pipelines must not swallow it."""


def profile_of(model: Model, structure: Structure, device: Device, caller: Caller) -> Profile:
    """Count a model: its weights always, its calls unless something in it wants real values."""
    modules = {
        part.name: structure.module(part.name) for part in model.components if part.parameters
    }
    libraries = {part.name: part.library for part in model.components}
    profile = Profile(
        model=model.id,
        workload=model.workload,
        components={
            name: weights_of(module, library=libraries[name]) for name, module in modules.items()
        },
    )
    try:
        # Others look at the structure's own modules, before and afterwards.
        modules = {name: _readied(copy.deepcopy(module)) for name, module in modules.items()}
        tracer = _Tracer(model=model, modules=modules)
        with tempfile.TemporaryDirectory() as place:
            pipe = _pipeline(model, structure, modules, Path(place))
            tracer.run(caller(pipe, model.workload))
        decode = {"off": tracer.decode} if tracer.decode else {}
        decode |= tracer.tiled(device)
    except Exception as error:
        traceback.print_exc()  # into the log of whoever asked
        first = next(iter(str(error).strip().splitlines()), "")
        return profile.but(uncounted=f"{type(error).__name__}: {first}"[:300])
    return profile.but(
        encode=tracer.encode, denoise=tracer.denoise, decode=decode, upcast=_upcast(pipe, modules)
    )


def _readied(module: Any) -> Any:
    """The module in 16-bit floats, as a pipeline uses it with every lever at its baseline."""
    import torch

    torch.nn.Module.to(module, torch.bfloat16)  # not diffusers' own, which warns
    module.eval()
    for switch in ("tiling", "slicing"):
        if getattr(module, f"use_{switch}", False):  # a lever has asked whether it can be
            getattr(module, f"disable_{switch}")()
    for part in module.modules():
        if hasattr(part, "moe_infer"):
            part.moe_infer = partial(_evenly, part)
    return module


def _upcast(pipe: Any, modules: Mapping[str, Any]) -> tuple[str, ...]:
    """SDXL's VAE overflows in fp16, and its pipelines look whether its configuration says so."""
    config = dict(getattr(modules.get("vae"), "config", {}))
    return ("vae",) if hasattr(pipe, "upcast_vae") and config.get("force_upcast") else ()


def _pipeline(model: Model, structure: Structure, modules: Mapping[str, Any], place: Path) -> Any:
    """The model's pipeline around the modules, which believes that it runs on the host."""
    import diffusers
    import torch

    real = getattr(diffusers, model.pipeline)
    host = property(lambda _: torch.device("cpu"))
    kind = type(real.__name__, (real,), {"device": host, "_execution_device": host})
    kind.__module__ = real.__module__
    parts = {**structure.others(place), **modules}
    needed, optional = real._get_signature_keys(real)
    given = {name: parts.get(name) for name in needed}
    given |= {name: part for name, part in parts.items() if name in optional}
    pipe = kind(**given, **_settings(model))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _settings(model: Model) -> Mapping[str, Any]:
    """What else the published pipeline is made with."""
    entry = find(model.id) if not model.folder else None
    return entry.settings if entry else {}


class _Tracer:
    """Follows one generation through the modules."""

    def __init__(self, *, model: Model, modules: Mapping[str, Any]) -> None:
        self._model = model
        self._modules = modules
        self._counts: dict[tuple[str, str], list[Any]] = {}
        self._decoding: tuple[Any, Any] | None = None

    @property
    def encode(self) -> tuple[Call, ...]:
        """The calls before the first step: of everything that is not a denoiser or the VAE."""
        away = (*self._model.denoisers, "vae")
        return tuple(one for one in self._calls() if one.component not in away)

    @property
    def denoise(self) -> tuple[Call, ...]:
        """The calls of the denoisers."""
        return tuple(one for one in self._calls() if one.component in self._model.denoisers)

    @property
    def decode(self) -> Call | None:
        """The call of the VAE's decoder, in one piece."""
        return next((one for one in self._calls() if one.component == "vae"), None)

    def run(self, generate: Callable[[int], Any]) -> None:
        """Generate once."""
        from autotune.estimate.count import on_host

        with ExitStack() as stack:
            stack.enter_context(on_host())
            for name, module in self._modules.items():
                method = "decode" if name == "vae" else "forward"
                stack.enter_context(self._hollow(name, module, method))
            try:
                generate(0)
            except _Decoded:
                pass

    def tiled(self, device: Device) -> dict[str, Call]:
        """The VAE's call with each choice of tiles that it can have: one tile, many times."""
        from autotune.levers import vae_tiling

        vae, whole = self._modules.get("vae"), self.decode
        if vae is None or whole is None or self._decoding is None:
            return {}
        offered = vae_tiling.choices(device, _View(self._model, self._modules))
        if getattr(vae, "use_tiling", False):
            vae.disable_tiling()
        return {
            choice.id: self._tile(
                whole, vae_tiling.latent_tile(vae, self._model.workload, choice.id)
            )
            for choice in offered
            if not choice.baseline and choice.unavailable is None
        }

    def _tile(self, whole: Call, sides: tuple[int, int]) -> Call:
        from torch.utils._pytree import tree_map

        latents = max(_tensors(self._decoding), key=lambda one: one.numel())
        height, width = latents.shape[-2:]
        tile = min(sides[0], height), min(sides[1], width)
        cropped = tree_map(
            lambda one: one[..., : tile[0], : tile[1]] if one is latents else one, self._decoding
        )
        counted, made = self._count("vae", self._modules["vae"].decode, cropped)
        return tiled_call(
            one=_call("vae", 1, counted, made, 0),
            whole=whole,
            latents=(height, width),
            tile=tile,
            scale=max(one.shape[-1] for one in _tensors(made)) // tile[1],
        )

    def _calls(self) -> Iterator[Call]:
        for (name, _), (count, counted, output, hidden) in self._counts.items():
            yield _call(name, count, counted, output, hidden)

    @contextmanager
    def _hollow(self, name: str, module: Any, method: str) -> Iterator[None]:
        from torch.utils._pytree import tree_map

        from autotune.estimate.values import hollow as hollow_of

        call = getattr(module, method)

        def hollow(*arguments: Any, **named: Any) -> Any:
            inputs = tree_map(hollow_of, (arguments, named))
            key = name, _signature(inputs)
            if key not in self._counts:
                blocks = blocks_of(module)
                counted, output = self._count(name, call, inputs, blocks)
                self._counts[key] = [0, counted, output, counted.hidden]
            self._counts[key][0] += 1
            if name == "vae":
                self._decoding = inputs
                raise _Decoded
            return tree_map(_to_zeros, self._counts[key][2])

        setattr(module, method, hollow)
        try:
            yield
        finally:
            delattr(module, method)

    def _count(
        self, name: str, call: Any, inputs: Any, blocks: Mapping[str, Any] | None = None
    ) -> Any:
        from autotune.estimate.count import count

        return count(self._modules[name], call, inputs, blocks or {})


class _View:
    """The modules as levers look at them."""

    def __init__(self, model: Model, modules: Mapping[str, Any]) -> None:
        self.record = model
        self.workload = model.workload
        self._modules = modules

    def module(self, component: str) -> Any:
        """See ModelView."""
        return self._modules.get(component)


def _evenly(moe: Any, tokens: Any, *_: Any) -> Any:
    """A mixture of experts whose tokens spread evenly: the real router looks at their values."""
    result = tokens.new_empty(tokens.shape)
    rows = tokens.shape[0] * moe.num_activated_experts // len(moe.experts)
    for expert in moe.experts:
        expert(tokens.new_empty(rows, tokens.shape[1]))
    return result


def _call(name: str, count: int, counted: Any, output: Any, hidden: int) -> Call:
    return Call(
        component=name,
        count=count,
        work=Work(
            linear=counted.linear,
            convolution=counted.convolution,
            attention=counted.attention,
            moved_bytes=counted.moved_bytes,
            operations=counted.operations,
        ),
        narrow_bytes=counted.narrow_bytes,
        other_bytes=counted.other_bytes,
        flat_bytes=counted.flat_bytes,
        deep_bytes=counted.deep_bytes,
        output_bytes=_bytes(output),
        scores=counted.scores,
        hidden=hidden,
    )


def _tensors(value: Any) -> list[Any]:
    import torch
    from torch.utils._pytree import tree_leaves

    return [one for one in tree_leaves(value) if isinstance(one, torch.Tensor)]


def _bytes(value: Any) -> int:
    return sum(one.nbytes for one in _tensors(value))


def _signature(inputs: Any) -> str:
    """Formats do not matter: latents are of another one before the first step."""
    return repr([tuple(one.shape) for one in _tensors(inputs)])


def _to_zeros(value: Any) -> Any:
    import torch

    if not isinstance(value, torch.Tensor):
        return value
    if value.nbytes <= _REAL_BYTES:
        return torch.zeros(value.shape, dtype=value.dtype)
    return torch.zeros((), dtype=value.dtype).expand(value.shape)
