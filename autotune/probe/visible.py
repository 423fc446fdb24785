"""CUDA_VISIBLE_DEVICES, read the way CUDA reads it (CUDA C++ Programming Guide, "Environment").

An entry is an index or the beginning of a UUID. CUDA stops at the first entry that names no
device, and shows no device at all when one is named twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from autotune.errors import shorten


class Card(NamedTuple):
    """A card or MIG instance as NVML lists it; ``uuid`` is empty when the card does not answer."""

    ordinal: int
    uuid: str
    name: str


def visible_cards(cards: Sequence[Card], mask: str | None) -> tuple[list[int], str | None]:
    """Choose the cards that CUDA would show.

    Args:
        cards: In NVML's order. The instances of a card share its ordinal.
        mask: The value of CUDA_VISIBLE_DEVICES, or ``None`` when it is not set.

    Returns:
        Positions in ``cards``, in CUDA's order, and what the user should know about the mask.
    """
    if mask is None:
        return list(range(len(cards))), None
    if not mask.strip():
        return [], "CUDA_VISIBLE_DEVICES is empty, which hides every CUDA device"
    chosen: list[int] = []
    for entry in (part.strip() for part in mask.split(",")):
        position = _position(cards, entry)
        if position is None:
            return chosen, (
                f"CUDA_VISIBLE_DEVICES names {shorten(entry)}, which is no device here: "
                "CUDA ignores it and what follows"
            )
        if position in chosen:
            return [], f"CUDA_VISIBLE_DEVICES names {shorten(entry)} twice: CUDA shows no device"
        chosen.append(position)
    return chosen, None


def _position(cards: Sequence[Card], entry: str) -> int | None:
    if re.fullmatch(r"[0-9]{1,6}", entry):
        # Of a divided card CUDA shows the first instance.
        return next((at for at, card in enumerate(cards) if card.ordinal == int(entry)), None)
    if not entry.startswith(("GPU-", "MIG-")):
        return None
    found = [at for at, card in enumerate(cards) if card.uuid.startswith(entry)]
    return found[0] if len(found) == 1 else None


def order_remark(cards: Sequence[Card], environ: Mapping[str, str]) -> str | None:
    """Say so when an index may mean another card to CUDA than it means here (row G10).

    NVML counts in the order of the PCI bus. CUDA counts from the fastest card unless
    CUDA_DEVICE_ORDER says otherwise; where all cards are the same both are one order.
    """
    mask = environ.get("CUDA_VISIBLE_DEVICES")
    by_uuid = mask is not None and not re.search(r"(^|,)\s*[0-9]", mask)
    if (
        by_uuid
        or environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
        or len({card.name for card in cards}) < 2
    ):
        return None
    return (
        "the cards differ, so an index may mean another one elsewhere: they are counted in the "
        "order of the PCI bus, as with CUDA_DEVICE_ORDER=PCI_BUS_ID"
    )
