"""Answers for libraries that ask about the card while they are imported, its driver left asleep.

bitsandbytes has kernels for the card only where it finds one when it is imported, and torchao and
Triton ask likewise. What they ask would start the driver, and a started driver does not survive a
fork (design D3). Hiding the card instead makes them choose what they do without one: 4-bit weights
unpacked by compiled Python, seen on an H200.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any

from autotune.records import Device


class Asleep:
    """What was asked that only the driver knows: then a library may have chosen wrongly."""

    def __init__(self) -> None:
        self.asked = False
        #: Libraries keep what they import, so what is put in place of torch has to know.
        self.sleeps = True


class _Properties:
    """What is known of a card; once its driver may start, what that says."""

    def __init__(self, known: Mapping[str, Any], state: Asleep, true: Callable[..., Any]) -> None:
        self._known, self._state, self._true = known, state, true

    def __getattr__(self, name: str) -> Any:
        if not self._state.sleeps:
            return getattr(self._true(0), name)
        if name in self._known:
            return self._known[name]
        self._state.asked = True
        raise AttributeError(f"only the driver knows {name}, which is not started yet")


@contextmanager
def driver_asleep(card: Device) -> Iterator[Asleep]:
    """Answer from what the probe found, and let nobody start the driver.

    Args:
        card: The only card that is visible, of NVIDIA's.
    """
    import torch

    state = Asleep()

    def start(*_: Any) -> None:
        state.asked = True
        raise RuntimeError("the driver is not started while libraries are imported")

    answers: dict[str, Callable[..., Any]] = {"_lazy_init": start}
    if card.compute_capability is not None:
        major, minor = map(int, card.compute_capability.split("."))
        known = {"name": card.name, "major": major, "minor": minor}
        known |= {"total_memory": card.total_bytes}
        properties = _Properties(known, state, torch.cuda.get_device_properties)
        answers |= {
            "current_device": lambda: 0,
            "get_device_name": lambda device=None: card.name,
            "get_device_capability": lambda device=None: (major, minor),
            "get_device_properties": lambda device=None: properties,
        }
    true = {name: getattr(torch.cuda, name) for name in answers}
    for name, answer in answers.items():
        setattr(torch.cuda, name, _until_awake(state, answer, true[name]))
    try:
        yield state
    finally:
        state.sleeps = False
        for name, function in true.items():
            setattr(torch.cuda, name, function)
        if compiler := sys.modules.get("torch._dynamo.device_interface"):
            compiler.caching_worker_device_properties.clear()  # it reads the true ones anew


def _until_awake(
    state: Asleep, answer: Callable[..., Any], true: Callable[..., Any]
) -> Callable[..., Any]:
    @wraps(true)
    def ask(*arguments: Any, **named: Any) -> Any:
        return (answer if state.sleeps else true)(*arguments, **named)

    return ask
