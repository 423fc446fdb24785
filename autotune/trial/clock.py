"""Time and phases of a generation.

Timed calls are left alone: the clock is read around the whole call, with the device synchronised
before both readings (M3). Phases, step times and module calls come from one observed call that is
not timed, because watching costs synchronisation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from autotune.levers.base import Seen, Target
from autotune.records import Device
from autotune.trial.memory import Meter
from autotune.trial.torch_names import is_accelerator, torch_module

Result = TypeVar("Result")


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
        self, meter: Meter, synchronize: Callable[[], None], say: Callable[[str], None]
    ) -> None:
        self.observation = Observation()
        self._meter = meter
        self._synchronize = synchronize
        self._say = say
        self._phase = "encode"
        self._phase_start = self._forward_start = time.perf_counter()

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

    def before_forward(self, *_: Any) -> None:
        self.enter("denoise")
        self._synchronize()
        self._forward_start = time.perf_counter()

    def after_forward(self, *_: Any) -> None:
        self._synchronize()
        self.observation.forwards_s.append(time.perf_counter() - self._forward_start)

    def before_decode(self, *_: Any) -> None:
        self.enter("decode")

    def counter(self, name: str) -> Callable[[Any, Any, Any], None]:
        """A forward hook that notes the calls of a module under this name."""
        seen = self.observation.seen
        seen[name] = Seen(calls=0, widest_output=())

        def count(module: Any, arguments: Any, output: Any) -> None:
            shape = tuple(int(side) for side in getattr(output, "shape", ()))
            before = seen[name]
            if before.calls:
                shape = tuple(map(max, before.widest_output, shape))
            seen[name] = Seen(calls=before.calls + 1, widest_output=shape)

        return count


@contextmanager
def observing(
    target: Target,
    meter: Meter,
    synchronize: Callable[[], None],
    say: Callable[[str], None],
    watched: Mapping[str, Any] | None = None,
) -> Iterator[Observation]:
    """Watch the generation made inside the block; what was seen is complete when it ends.

    ``watched`` names modules whose calls are to be counted, beside the VAE's decoder.
    """
    watch = _Watch(meter, synchronize, say)
    handles = [
        target.denoiser.register_forward_pre_hook(watch.before_forward),
        target.denoiser.register_forward_hook(watch.after_forward),
    ]
    decoder = getattr(target.vae, "decoder", None)
    if decoder is not None:
        handles.append(decoder.register_forward_pre_hook(watch.before_decode))
        handles.append(decoder.register_forward_hook(watch.counter("vae.decoder")))
    for name, module in (watched or {}).items():
        handles.append(module.register_forward_hook(watch.counter(name)))
    try:
        yield watch.observation
    finally:
        watch.enter("done")
        for handle in handles:
            handle.remove()
