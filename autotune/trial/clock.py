"""Time and phases of a generation.

Timed calls are left alone: the clock is read around the whole call, with the device synchronised
before both readings (M3). Phases, step times and module calls come from one observed call that is
not timed, because watching costs synchronisation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from autotune.levers.base import Seen, Target
from autotune.levers.mechanisms.torch_names import is_accelerator, torch_module
from autotune.records import Device
from autotune.trial.memory import Meter

Result = TypeVar("Result")
_Around = Callable[[Callable[[], Any]], Any]


def synchronizer(device: Device) -> Callable[[], None]:
    """The call that waits until the device has done everything it was given."""
    if device.kind == "cpu":
        return lambda: None
    import torch

    module: Any = torch_module(device) if is_accelerator(device) else torch.mps
    return lambda: module.synchronize()


def timed(call: Callable[[], Result], synchronize: Callable[[], None]) -> tuple[float, Result]:
    """Run the call and return its wall seconds, with the device idle at both ends."""
    synchronize()
    start = time.perf_counter()
    result = call()
    synchronize()
    return time.perf_counter() - start, result


@dataclass(kw_only=True)
class Observation:
    """What one observed generation showed."""

    forwards_s: list[float] = field(default_factory=list)
    phases_s: dict[str, float] = field(default_factory=dict)
    seen: dict[str, Seen] = field(default_factory=dict)


class _Watch:
    """Follows one generation through encode, denoise and decode."""

    def __init__(
        self,
        meter: Meter,
        synchronize: Callable[[], None],
        say: Callable[[str], None],
        stepped: Callable[[Sequence[float]], None],
    ) -> None:
        self.observation = Observation()
        self._stepped = stepped
        self._meter = meter
        self._synchronize = synchronize
        self._say = say
        self._phase = "encode"
        self._phase_start = time.perf_counter()

    def enter(self, phase: str) -> None:
        """End the phase so far, unless it is this one."""
        if phase == self._phase:
            return
        self._synchronize()
        now = time.perf_counter()
        spent = self.observation.phases_s
        spent[self._phase] = spent.get(self._phase, 0.0) + now - self._phase_start
        self._meter.mark(self._phase)
        self._phase, self._phase_start = phase, now
        if phase != "done":
            self._say(phase)

    def forward(self, seen: _Count) -> _Around:
        """Around a call of a denoiser: its time, and the phase."""

        def around(call: Callable[[], Any]) -> Any:
            self.enter("denoise")
            self._synchronize()
            start = time.perf_counter()
            result = seen.around(call)
            self._synchronize()
            self.observation.forwards_s.append(time.perf_counter() - start)
            self._stepped(self.observation.forwards_s)
            return result

        return around

    def decode(self, seen: _Count) -> _Around:
        """Around a call of the decoder: the phase."""

        def around(call: Callable[[], Any]) -> Any:
            self.enter("decode")
            return seen.around(call)

        return around


class _Count:
    """Counts the calls of one module, and the compiled graphs that run inside them."""

    def __init__(self, name: str, seen: dict[str, Seen], graphs: _Graphs) -> None:
        self._name = name
        self._seen = seen
        self._graphs = graphs
        seen[name] = Seen(calls=0, widest_output=())

    def around(self, call: Callable[[], Any]) -> Any:
        """Make the call and note it."""
        ran = self._graphs.ran
        result = call()
        before = self._seen[self._name]
        shape = tuple(int(side) for side in getattr(result, "shape", ()))
        if before.calls:
            shape = tuple(map(max, before.widest_output, shape))
        self._seen[self._name] = Seen(
            calls=before.calls + 1,
            widest_output=shape,
            graphs=before.graphs + self._graphs.ran - ran,
        )
        return result


@dataclass
class _Graphs:
    """How many compiled graphs have run."""

    ran: int = 0


@contextmanager
def observing(
    target: Target,
    meter: Meter,
    synchronize: Callable[[], None],
    say: Callable[[str], None],
    watched: Mapping[str, Any] | None = None,
    stepped: Callable[[Sequence[float]], None] = lambda _: None,
) -> Iterator[Observation]:
    """Watch the generation made inside the block; what was seen is complete when it ends.

    Seen are the denoisers by component name, the VAE's decoder as ``vae.decoder``, and what
    ``watched`` names, but for modules inside a compiled one (see ``hidden``). After each call of a
    denoiser ``stepped`` is told what all of them took so far, and may end the generation.
    """
    watch = _Watch(meter, synchronize, say, stepped)
    seen = watch.observation.seen
    inside = _inside_compiled(target.pipe)
    decoder = getattr(target.vae, "decoder", None)
    with ExitStack() as stack:
        graphs = stack.enter_context(_counted_graphs(target.pipe))
        for name, module in (watched or {}).items():
            if module not in inside:
                stack.enter_context(_surrounded(module, _Count(name, seen, graphs).around))
        for name, module in target.denoisers.items():
            around = watch.forward(_Count(name, seen, graphs))
            stack.enter_context(_surrounded(module, around))
        if decoder is not None:
            around = watch.decode(_Count("vae.decoder", seen, graphs))
            stack.enter_context(_surrounded(decoder, around))
        try:
            yield watch.observation
        finally:
            watch.enter("done")


def hidden(target: Target, watched: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the watched modules that lie inside a compiled one.

    Their calls are part of its graphs. To be counted there they would have to break them, so
    they are counted in a generation of its own (``uncompiled``).
    """
    inside = _inside_compiled(target.pipe)
    return {name: module for name, module in watched.items() if module in inside}


@contextmanager
def uncompiled(modules: Mapping[str, Any]) -> Iterator[dict[str, Seen]]:
    """Count the calls of hidden modules in the block, where nothing runs compiled.

    What skips a module by schedule or by its input, as caches do, skips it here as well.
    """
    import torch

    seen: dict[str, Seen] = {}
    with ExitStack() as stack:
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        for name, module in modules.items():
            stack.enter_context(_surrounded(module, _Count(name, seen, _Graphs()).around))
        yield seen


@contextmanager
def _surrounded(module: Any, around: _Around) -> Iterator[None]:
    """Put something around the calls of a module, compiled or not, and take it away again.

    Not as a forward hook: a compiled module runs those it was compiled with and no others. What
    ``Module.__call__`` runs first, ``_compiled_call_impl``, is no part of what is compiled.
    """
    before = vars(module).get("_compiled_call_impl")
    call = before or module._call_impl

    def surrounded(*positional: Any, **named: Any) -> Any:
        return around(lambda: call(*positional, **named))

    module._compiled_call_impl = surrounded
    try:
        yield
    finally:
        if before is None:
            del module._compiled_call_impl
        else:
            module._compiled_call_impl = before


def _inside_compiled(pipe: Any) -> set[Any]:
    """The modules that run as part of a compiled one."""
    return {
        part for compiled in _compiled(pipe) for part in compiled.modules() if part is not compiled
    }


def _compiled(pipe: Any) -> list[Any]:
    components = getattr(pipe, "components", {}).values()
    return [
        part
        for component in components
        if hasattr(component, "modules")
        for part in component.modules()
        if getattr(part, "_compiled_call_impl", None) is not None
    ]


@contextmanager
def _counted_graphs(pipe: Any) -> Iterator[_Graphs]:
    """Count every run of a graph that inductor compiled, if there can be any."""
    graphs = _Graphs()
    if not _compiled(pipe):
        yield graphs
        return
    from torch._inductor.output_code import CompiledFxGraph

    run = CompiledFxGraph.__call__

    def counted(graph: Any, inputs: Any) -> Any:
        graphs.ran += 1
        return run(graph, inputs)

    CompiledFxGraph.__call__ = counted
    try:
        yield graphs
    finally:
        CompiledFxGraph.__call__ = run
