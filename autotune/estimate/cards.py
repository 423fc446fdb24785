"""Cards by name, from data in the package: what one has, and a device as if it were here."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple

from autotune.errors import BadInput, shorten
from autotune.levers.mechanisms.capability import ELSEWHERE
from autotune.records import Device, Record
from autotune.units import GIB

#: Words of a name that do not tell one card from another.
_NOISE = frozenset(
    (
        *("nvidia", "geforce", "rtx", "gtx", "tesla", "quadro", "amd", "radeon", "rx", "instinct"),
        *("gpu", "card", "generation", "graphics", "edition"),
    )
)
_SAME_WORD = {"mobile": "laptop", "s": "super"}
#: Standing alone, so that the last two letters of A10G are none.
_MEMORY = re.compile(r"(?<![a-z0-9])(\d{1,3}) ?(?:gb|gib|g)(?![a-z0-9])")
_WORD = re.compile(r"[a-z]+|\d+")
#: A name longer than this is none, and would only make the search for close ones slow.
_LONGEST = 100
#: Drivers show a little less than there is; with ECC on or off GDDR cards differ by a sixteenth.
_LEAST_SHOWN, _MOST_SHOWN = 0.9, 1.07
#: Assumption: what a driver and an idle desktop keep of an otherwise free card.
_DRIVER_SHARE = 0.03
#: Bytes a second of one lane in one direction, by generation, after the line's coding.
_LANE_BYTES_S = {1: 0.25e9, 2: 0.5e9, 3: 0.985e9, 4: 1.969e9, 5: 3.938e9, 6: 7.563e9}


class Card(Record):
    """A card as its maker describes it; ``halved`` ones run tensor products at half rate."""

    name: str
    aliases: tuple[str, ...] = ()
    kind: Literal["cuda", "rocm"]
    compute_capability: str
    memory_bytes: int
    sold_gb: int
    flops: Mapping[str, float]
    memory_bytes_s: float
    pcie_generation: int
    pcie_width: int
    power_w: float
    halved: bool = False


class _Key(NamedTuple):
    """What a name says: its words in any order, and how much memory."""

    words: tuple[str, ...]
    memory_gb: int | None


@cache
def load_cards() -> tuple[Card, ...]:
    """All cards of the table, in its order."""
    text = files("autotune.estimate").joinpath("cards.toml").read_text(encoding="utf-8")
    return tuple(
        _card(group, row) for group in tomllib.loads(text)["groups"] for row in group["cards"]
    )


def find_card(text: str) -> Card:
    """The card a user means: ``4090``, ``rtx4090``, ``a100-80gb``, or as the driver names it.

    Raises:
        BadInput: If there is none of that name, or several that differ in memory.
    """
    key = _key(text[:_LONGEST])
    found = [card for card in _by_words().get(key.words, ()) if _has(card, key.memory_gb)]
    if len(found) == 1:
        return found[0]
    if found:
        raise BadInput(
            f"{shorten(text)} is the name of several cards",
            hint=f"name one of: {', '.join(card.name for card in found)}",
        )
    names = {card.name.lower(): card.name for card in load_cards()}
    wanted = {word: name for low, name in names.items() for word in (low, " ".join(_key(low)[0]))}
    spelled = (text[:_LONGEST].lower(), " ".join(key.words))
    close = [wanted[one] for word in spelled for one in difflib.get_close_matches(word, wanted, 3)]
    same = [card.name for card in _by_words().get(key.words, ())]
    near = ", ".join(dict.fromkeys([*same, *close])) or "RTX 3060 12GB, RTX 4090, A100 SXM 80GB"
    raise BadInput(f"no card is known by the name of {shorten(text)}", hint=f"known are {near}")


def card_of(device: Device) -> Card | None:
    """The card that a device is, by its name and memory; slices of cards are none."""
    words = _key(device.name).words
    found = [
        card
        for card in _by_words().get(words, ())
        if card.kind == device.kind
        and _LEAST_SHOWN <= device.total_bytes / card.memory_bytes <= _MOST_SHOWN
    ]
    return None if device.mig or len(found) != 1 else found[0]


def device_of(card: Card) -> Device:
    """A device as if the card were here, with nothing on it."""
    return Device(
        kind=card.kind,
        uuid=f"{ELSEWHERE}{card.name}",
        name=card.name,
        total_bytes=card.memory_bytes,
        free_bytes=int(card.memory_bytes * (1 - _DRIVER_SHARE)),
        compute_capability=card.compute_capability,
        pcie_generation=card.pcie_generation,
        pcie_width=card.pcie_width,
        power_limit_w=card.power_w,
    )


def link_bytes_s(generation: int, width: int) -> float:
    """What a PCIe link carries in one direction."""
    return _LANE_BYTES_S.get(generation, max(_LANE_BYTES_S.values())) * width


def _card(group: Mapping[str, Any], row: Mapping[str, Any]) -> Card:
    generation, width = row.get("pcie", group["pcie"])
    rates = {"fp32": 1, **group["times_fp32"]}
    return Card(
        name=row["name"],
        aliases=tuple(row.get("aliases", ())),
        kind=group["kind"],
        compute_capability=group["compute_capability"],
        memory_bytes=int(row["gib"] * GIB),
        sold_gb=row.get("sold_gb", row["gib"]),
        flops={name: row["fp32"] * rate * 1e12 for name, rate in rates.items()},
        memory_bytes_s=row["gb_s"] * 1e9,
        pcie_generation=generation,
        pcie_width=width,
        power_w=row["watt"],
        halved=group.get("halved", False),
    )


@cache
def _by_words() -> Mapping[tuple[str, ...], tuple[Card, ...]]:
    found: dict[tuple[str, ...], tuple[Card, ...]] = {}
    for card in load_cards():
        for words in dict.fromkeys(_key(name).words for name in (card.name, *card.aliases)):
            found[words] = (*found.get(words, ()), card)
    return found


def _key(text: str) -> _Key:
    low = text.lower()
    memory = _MEMORY.search(low)
    low = _MEMORY.sub(" ", low)
    words = (_SAME_WORD.get(word, word) for word in _WORD.findall(low))
    return _Key(
        tuple(sorted(word for word in words if word not in _NOISE)),
        int(memory[1]) if memory else None,
    )


def _has(card: Card, memory_gb: int | None) -> bool:
    return memory_gb is None or memory_gb == card.sold_gb
