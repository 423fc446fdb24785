"""The best candidates that are foreseen to fit, against a list of all of them."""

from __future__ import annotations

import pytest

from autotune.estimate.cards import device_of, find_card
from autotune.estimate.ceilings import ceilings_from_card
from autotune.estimate.profile import Block, Tensors, Weights
from autotune.search.admission import Admission
from autotune.search.shortlist import Foreseen, Shortlist
from autotune.search.space import every
from tests.estimate.published import flux
from tests.search.factory import make_space
from tests.search.test_doubt import MODEL

GB = 10**9
LEVERS = {
    "offload": ("none", "group-leaf-stream", "staged", "partial-50", "model"),
    "quantize-denoiser": ("none", "bnb-nf4", "torchao-int8wo"),
    "cache": ("none", "first-block-8", "magcache-6"),
    "compile": ("none", "regional", "full"),
    "quantize-text-encoder": ("none", "bnb-nf4"),
    "fuse-qkv": ("off", "on"),
}
CARD = find_card("RTX 4090")


def blocks(count: int, numbers: int, library: str) -> Weights:
    """Blocks of sixteen Linears each, which hold so many numbers together."""
    row = Tensors(kind="linear", shape=(1024, numbers // count // 16 // 1024), count=16)
    block = Block(name="blocks", count=count, tensors=(row,))
    return Weights(class_name="Blocks", library=library, blocks=(block,))


PROFILE = flux().but(
    components={
        "transformer": blocks(57, 11_900_000_000, "diffusers"),
        "text_encoder_2": blocks(24, 4_760_000_000, "transformers"),
        "vae": blocks(8, 84_000_000, "diffusers"),
    }
)
BUDGETS = (4 * GB, 8 * GB, 12 * GB, 16 * GB, 24 * GB, 48 * GB)


def shortlist(budget: int = 24 * GB, host: int | None = None) -> Shortlist:
    space = make_space(LEVERS)
    admission = Admission(
        model=MODEL,
        device=device_of(CARD),
        budget_bytes=budget,
        software={},
        profile=PROFILE,
        host_bytes=host,
    )
    return Shortlist(space, admission, ceilings_from_card(CARD))


def all_of(listed: Shortlist) -> list[Foreseen]:
    found = (listed.foresee(one) for one in every(listed.space))
    return [one for one in found if one is not None]


@pytest.fixture(scope="module")
def everything() -> list[Foreseen]:
    return all_of(shortlist())


@pytest.mark.parametrize("budget", BUDGETS)
def test_the_best_is_within_two_per_cent_of_the_best_of_all(
    everything: list[Foreseen], budget: int
) -> None:
    fits = [one.latency.image_s for one in everything if one.memory.peak_bytes <= budget]
    listed = shortlist()
    best = listed.best(budget)
    if not fits:
        assert best is None
        return
    assert best is not None
    assert best.memory.peak_bytes <= budget
    assert best.latency.image_s <= min(fits) * 1.02
    assert listed.evaluated < len(everything)


def test_the_leanest_is_within_two_per_cent_of_the_leanest_of_all(
    everything: list[Foreseen],
) -> None:
    leanest = shortlist().leanest()
    assert leanest is not None
    least = min(one.memory.peak_bytes for one in everything)
    assert leanest.memory.peak_bytes <= least * 1.02


def test_every_line_takes_clearly_less_than_those_before_and_is_slower() -> None:
    listed = shortlist()
    listed.best(24 * GB)
    lines = listed.fitting(24 * GB, 5)
    assert 2 <= len(lines) <= 5
    assert lines[0] == listed.best(24 * GB)
    for number, line in enumerate(lines):
        assert line.memory.peak_bytes <= 24 * GB
        for before in lines[:number]:
            assert (
                line.memory.peak_bytes <= before.memory.peak_bytes * 0.9
                or line.memory.host_bytes < before.memory.host_bytes * 0.7
            )


def test_what_gains_nothing_is_left_out() -> None:
    for budget in BUDGETS:
        best = shortlist().best(budget)
        assert best is None or best.candidate["fuse-qkv"] == "off"


def test_what_a_rule_forbids_is_never_foreseen() -> None:
    listed = shortlist()
    forbidden = {**listed.space.baseline, "cache": "magcache-6", "compile": "regional"}
    assert listed.foresee(forbidden) is None


def test_little_host_memory_leaves_what_does_not_lie_there() -> None:
    listed = shortlist(host=8 * GB)
    for budget in BUDGETS:
        best = listed.best(budget)
        assert best is None or best.memory.host_bytes <= 8 * GB
    assert shortlist().best(4 * GB) is not None
    plenty = shortlist(host=64 * GB).best(4 * GB)
    assert plenty is not None
    assert plenty.memory.host_bytes > 8 * GB
