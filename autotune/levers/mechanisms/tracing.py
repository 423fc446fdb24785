"""A UNet as a trace: recorded with ``torch.jit.trace``, replayed without Python.

The trace takes the place of ``forward`` of the same module, with which it shares its weights: what
the pipeline reads of its UNet is still there. It ignores whatever Python would decide anew, so
it is made with the arguments of the real call and refuses others (levers.md A10, B90).
"""

from __future__ import annotations

import hashlib
import io
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from autotune.files import write_atomic
from autotune.levers.base import ModelView, Target
from autotune.records import Evidence

#: Tracing runs the UNet once; the first replays are slow while the interpreter profiles them.
TRACE_START_UP_S = 120.0
_UNETS = ("UNet2DConditionModel",)
_FORMAT = 1


class _Captured(Exception):
    """The first call of the denoiser was seen; the rest of the generation is not needed."""


class _Arguments:
    """The arguments of a call, taken apart into tensors and what stays the same."""

    def __init__(self, positional: Sequence[Any], named: Mapping[str, Any]) -> None:
        self.tensors: list[Any] = []
        self._positional = len(positional)
        # Arguments that are None are as good as not given.
        given = sorted((name, value) for name, value in named.items() if value is not None)
        self.structure = tuple(
            (name, self._take(value)) for name, value in (*enumerate(positional), *given)
        )

    def _take(self, value: Any) -> tuple[str, Any]:
        import torch

        if isinstance(value, torch.Tensor):
            self.tensors.append(value)
            return ("tensor", None)
        if isinstance(value, Mapping):
            return ("mapping", tuple((key, self._take(value[key])) for key in sorted(value)))
        return ("constant", value)

    def rebuilt(self, tensors: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
        """The arguments again, with these tensors in their places."""
        left = iter(tensors)
        values = [(name, _rebuild(part, left)) for name, part in self.structure]
        named = {str(name): value for name, value in values[self._positional :]}
        return [value for _, value in values[: self._positional]], named


class _Trace:
    """Stands for ``forward``: takes the same arguments and replays the trace."""

    def __init__(self, replay: Any, arguments: _Arguments) -> None:
        self._replay = replay
        self._structure = arguments.structure

    def __call__(self, *positional: Any, return_dict: bool = True, **named: Any) -> Any:
        arguments = _Arguments(positional, named)
        if arguments.structure != self._structure:
            raise ValueError("the UNet was traced for other arguments than these")
        sample = self._replay(*arguments.tensors)
        if not return_dict:
            return (sample,)
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput

        return UNet2DConditionOutput(sample=sample)


def trace_problem(view: ModelView | None) -> str | None:
    """Why the denoiser cannot be traced here."""
    if sys.version_info >= (3, 14):
        return "torch.jit.trace does not work on Python 3.14 and newer"
    module = view.module(view.record.denoiser) if view else None
    return _refusal(module) if module is not None else None


def is_traced(module: Any) -> bool:
    """Whether the module's forward is a trace."""
    return isinstance(vars(module).get("forward"), _Trace)


def trace(target: Target) -> None:
    """Put a trace in the place of the UNet's forward, loaded if an earlier trial kept one."""
    for name, module in target.denoisers.items():
        if is_traced(module):
            continue
        if (refusal := _refusal(module)) is not None:
            raise ValueError(refusal)
        arguments = _first_call(target, module)
        folder = target.prepared
        kept = folder / f"{_key(target, name, module, arguments)}.pt" if folder else None
        replay = _load(kept, module) if kept else None
        if replay is None:
            replay = _record(module, arguments)
            if kept is not None:
                _keep(replay, kept)
        module.forward = _Trace(replay, arguments)


def trace_evidence(target: Target) -> Evidence:
    """The forward of every denoiser is a trace, and one was called."""
    missing = [name for name, module in target.denoisers.items() if not is_traced(module)]
    if missing:
        return Evidence(engaged=False, detail=f"not traced: {', '.join(missing)}")
    if not target.seen:
        return Evidence(engaged=True, detail="traced, nothing generated yet")
    calls = sum(target.seen[name].calls for name in target.denoisers if name in target.seen)
    return Evidence(engaged=calls > 0, detail=f"traced, replayed {calls} times")


def _refusal(module: Any) -> str | None:
    kind = type(module).__name__
    return None if kind in _UNETS else f"{kind} is no UNet, and only those are traced"


def _first_call(target: Target, module: Any) -> _Arguments:
    """The arguments of the pipeline's own first call of the UNet, which is not let through."""
    found: list[_Arguments] = []

    def capture(_: Any, positional: Any, named: dict[str, Any]) -> None:
        named = {name: value for name, value in named.items() if name != "return_dict"}
        found.append(_Arguments(positional, named))
        raise _Captured

    work = target.workload
    wanted = {"num_inference_steps": work.steps, "guidance_scale": work.guidance}
    handle = module.register_forward_pre_hook(capture, with_kwargs=True)
    try:
        target.pipe(
            prompt=work.prompts[0],
            height=work.height,
            width=work.width,
            num_images_per_prompt=work.batch,
            output_type="latent",
            **{name: value for name, value in wanted.items() if value is not None},
        )
    except _Captured:
        pass
    finally:
        handle.remove()
    return found[0]


def _record(module: Any, arguments: _Arguments) -> Any:
    """Run the UNet once and record what it does; the trace holds the module's own tensors."""
    import torch

    class Plain(torch.nn.Module):  # type: ignore[misc]
        """Takes nothing but tensors and gives one, as a trace must."""

        def __init__(self) -> None:
            super().__init__()
            self.unet = module

        def forward(self, *tensors: Any) -> Any:
            positional, named = arguments.rebuilt(tensors)
            return self.unet(*positional, **named, return_dict=False)[0]

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and warns of each Python decision
        return torch.jit.trace(Plain(), tuple(arguments.tensors), check_trace=False)


def _keep(replay: Any, path: Path) -> None:
    """Save the trace without its weights, which are the module's and lie with the model."""
    import torch

    tensors = _tensors(replay).values()
    weights = [tensor.data for tensor in tensors]
    buffer = io.BytesIO()
    try:
        for tensor in tensors:
            tensor.data = torch.empty(0, dtype=tensor.dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.save(replay, buffer)
    except RuntimeError:
        return  # what cannot be saved is recorded again by the next trial
    finally:
        for tensor, weight in zip(tensors, weights, strict=True):
            tensor.data = weight
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, buffer.getvalue(), overwrite=True)


def _load(path: Path, module: Any) -> Any:
    """The trace kept there with the module's weights in it, or ``None`` if there is none."""
    import torch

    if not path.exists():
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            replay = torch.jit.load(str(path), map_location="cpu")
        weights = _tensors(module)
        for name, tensor in _tensors(replay).items():
            tensor.data = weights[name.removeprefix("unet.")].data
    except (RuntimeError, KeyError):  # cut short or of another making: it is recorded again
        return None
    return replay


def _tensors(module: Any) -> dict[str, Any]:
    return dict(module.named_parameters()) | dict(module.named_buffers())


def _key(target: Target, name: str, module: Any, arguments: _Arguments) -> str:
    """A name that changes with whatever a trace freezes: versions, settings, shapes, layout."""
    import diffusers
    import torch

    facts: list[object] = [_FORMAT, torch.__version__, diffusers.__version__, target.device.kind]
    facts += [target.model.id, target.model.revision, name, type(module).__name__]
    facts.append(arguments.structure)
    facts += [(tensor.dtype, tuple(tensor.shape)) for tensor in arguments.tensors]
    for path, part in module.named_modules():
        processor = getattr(part, "processor", None)
        facts.append((path, type(part).__name__, type(processor).__name__))
        facts += [_plain(part), _plain(processor)]
    for path, tensor in _tensors(module).items():
        facts.append((path, tensor.dtype, tuple(tensor.shape), tensor.stride()))
    return "trace-" + hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


def _plain(thing: Any) -> list[tuple[str, object]]:
    """Settings of an object that are plain values."""
    found = vars(thing) if hasattr(thing, "__dict__") else {}
    kinds = (bool, int, float, str, tuple, type(None))
    return sorted((key, value) for key, value in found.items() if isinstance(value, kinds))


def _rebuild(part: tuple[str, Any], tensors: Iterator[Any]) -> Any:
    kind, value = part
    if kind == "tensor":
        return next(tensors)
    if kind == "mapping":
        return {key: _rebuild(inner, tensors) for key, inner in value}
    return value
