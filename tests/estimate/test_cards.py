"""Cards by name: what a user or a driver calls them, and what each has."""

from __future__ import annotations

import pytest

from autotune.errors import BadInput
from autotune.estimate.cards import Card, card_of, device_of, find_card, link_bytes_s, load_cards
from autotune.units import GIB

CARDS = load_cards()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("RTX 4090", "RTX 4090"),
        ("4090", "RTX 4090"),
        ("rtx4090", "RTX 4090"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "RTX 4090 Laptop"),
        ("4090 mobile", "RTX 4090 Laptop"),
        ("4060 ti 16gb", "RTX 4060 Ti 16GB"),
        ("RTX 4060 Ti 8 GB", "RTX 4060 Ti 8GB"),
        ("3060", "RTX 3060 12GB"),
        ("a100-80gb", "A100 SXM 80GB"),
        ("NVIDIA A100-SXM4-40GB", "A100 SXM 40GB"),
        ("NVIDIA A100 80GB PCIe", "A100 PCIe 80GB"),
        ("h100", "H100 SXM"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("Tesla V100-SXM2-16GB", "V100 SXM2 16GB"),
        ("Tesla T4", "T4"),
        ("NVIDIA A10G", "A10G"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA RTX A6000", "RTX A6000"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "RTX PRO 6000 Blackwell"),
        ("AMD Instinct MI300X", "MI300X"),
        ("Radeon RX 7900 XTX", "RX 7900 XTX"),
    ],
)
def test_a_card_is_found_by_what_people_and_drivers_call_it(text: str, name: str) -> None:
    assert find_card(text).name == name


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_every_card_is_found_by_its_own_name_and_as_a_device(card: Card) -> None:
    assert find_card(card.name) == card
    assert card_of(device_of(card)) == card


def test_there_are_the_cards_that_people_own_and_rent() -> None:
    assert len(CARDS) >= 45
    assert {card.kind for card in CARDS} == {"cuda", "rocm"}


def test_a_name_of_several_cards_is_refused_with_their_names() -> None:
    with pytest.raises(BadInput, match="'3080' is the name of several cards") as refused:
        find_card("3080")
    assert refused.value.hint == "name one of: RTX 3080 10GB, RTX 3080 12GB"


@pytest.mark.parametrize(
    ("text", "close"),
    [("rtx 4099", "RTX 4090"), ("4090 48gb", "RTX 4090"), ("3060 8gb", "RTX 3060 12GB")],
)
def test_an_unknown_card_is_refused_with_close_ones(text: str, close: str) -> None:
    with pytest.raises(BadInput, match="no card is known by the name of") as refused:
        find_card(text)
    assert close in (refused.value.hint or "")


@pytest.mark.parametrize("text", ["", " ", "NVIDIA", "\0", "x" * 100_000, "１２"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(BadInput) as refused:
        find_card(text)
    assert len(refused.value.message) < 200
    assert refused.value.hint


def test_16_bit_products_of_geforce_cards_are_those_that_sum_in_32_bits() -> None:
    published = {"4090": 165.2, "3090": 71.0, "3060": 25.5, "5090": 209.5, "L20": 119.5}
    for name, tflops in published.items():
        assert find_card(name).flops["bf16"] / 1e12 == pytest.approx(tflops, rel=0.002)


def test_data_centre_cards_have_the_figures_of_their_sheets() -> None:
    published = {"A100 80GB": 312, "H100": 989.4, "H200": 989.4, "L40": 181.05, "L40S": 362}
    for name, tflops in published.items():
        assert find_card(name).flops["bf16"] / 1e12 == pytest.approx(tflops, rel=0.002)
    assert find_card("4090").flops["fp8"] / 1e12 == pytest.approx(330.3, rel=0.002)
    assert find_card("H100").flops["fp8"] / 1e12 == pytest.approx(1978.9, rel=0.002)


def test_formats_without_a_unit_are_absent() -> None:
    assert set(find_card("1080 Ti").flops) == {"fp32"}
    assert set(find_card("T4").flops) == {"fp32", "fp16", "int8"}
    assert "fp8" not in find_card("3090").flops
    assert "fp8" not in find_card("A100 80GB").flops


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_the_figures_of_a_card_are_of_a_possible_size(card: Card) -> None:
    assert 4 * GIB <= card.memory_bytes <= 256 * GIB
    assert card.memory_bytes <= card.sold_gb * GIB
    assert 5e12 <= card.flops["fp32"] <= 2e14
    assert all(rate >= card.flops["fp32"] for rate in card.flops.values())
    assert 1e11 <= card.memory_bytes_s <= 1e13
    assert 50 <= card.power_w <= 1200


def test_a_device_that_is_not_here_has_a_little_less_free_than_it_has() -> None:
    device = device_of(find_card("3060"))
    assert (device.uuid, device.total_bytes) == ("card:RTX 3060 12GB", 12 * GIB)
    assert 0.95 < device.free_bytes / device.total_bytes < 1
    assert (device.compute_capability, device.pcie_width) == ("8.6", 16)


def test_the_same_name_with_other_memory_is_no_card_of_the_table() -> None:
    device = device_of(find_card("3080 10gb"))
    assert card_of(device.but(name="NVIDIA GeForce RTX 3080", total_bytes=12 * GIB)) == find_card(
        "3080 12gb"
    )
    assert card_of(device.but(total_bytes=20 * GIB)) is None
    assert card_of(device.but(mig=True)) is None
    assert card_of(device.but(kind="rocm")) is None


def test_a_link_carries_twice_as_much_a_generation_later() -> None:
    assert link_bytes_s(4, 16) == pytest.approx(31.5e9, rel=0.001)
    assert link_bytes_s(5, 16) == pytest.approx(63e9, rel=0.001)
    assert link_bytes_s(4, 8) == link_bytes_s(4, 16) / 2
