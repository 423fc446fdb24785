"""Answers for libraries that ask about the card while they are imported, its driver left asleep.

bitsandbytes has kernels for the card only where it finds one when it is imported, and torchao and
Triton ask likewise. What they ask would start the driver, and a started driver does not survive a
fork (design D3). Hiding the card instead makes them choose what they do without one: 4-bit weights
unpacked by compiled Python, seen on an H200.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from autotune.records import Device


class Asleep:
    """What was asked that only the driver knows: then a library may have chosen wrongly."""

    def __init__(self) -> None:
        self.asked = False


@contextmanager
def driver_asleep(card: Device) -> Iterator[Asleep]:
    """Answer from what the probe found, and let nobody start the driver.

    Args:
        card: The only card that is visible, of NVIDIA's.
    """
    import torch

    found = Asleep()
    major, minor = map(int, (card.compute_capability or "0.0").split("."))
    facts = SimpleNamespace(
        name=card.name, major=major, minor=minor, total_memory=card.total_bytes
    )

    def start(*_: Any) -> None:
        found.asked = True
        raise RuntimeError("the driver is not started while libraries are imported")

    answers = {
        "_lazy_init": start,
        "current_device": lambda: 0,
        "get_device_name": lambda device=None: card.name,
        "get_device_capability": lambda device=None: (major, minor),
        "get_device_properties": lambda device=None: facts,
    }
    if card.compute_capability is None:
        answers = {"_lazy_init": start}
    true = {name: getattr(torch.cuda, name) for name in answers}
    for name, answer in answers.items():
        setattr(torch.cuda, name, answer)
    try:
        yield found
    finally:
        for name, answer in true.items():
            setattr(torch.cuda, name, answer)
        # torch keeps the properties for its compiler, which needs all of them.
        if dynamo := sys.modules.get("torch._dynamo.device_interface"):
            dynamo.caching_worker_device_properties.clear()
