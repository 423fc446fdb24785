"""CUDA_VISIBLE_DEVICES as CUDA reads it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from autotune.probe.visible import Card, order_remark, visible_cards
from tests.stubs.nvml import StubNvml, card

CARDS = (
    Card(0, "GPU-0aaa", "NVIDIA L4"),
    Card(1, "GPU-1bbb", "NVIDIA H200"),
    Card(1, "MIG-1ccc", "NVIDIA H200"),
    Card(2, "", ""),
)


@pytest.mark.parametrize(
    ("mask", "chosen", "remark"),
    [
        (None, [0, 1, 2, 3], None),
        ("0", [0], None),
        ("1,0", [1, 0], None),
        (" 1 , 0 ", [1, 0], None),
        ("GPU-1bbb,GPU-0aaa", [1, 0], None),
        ("GPU-0", [0], None),
        ("MIG-1ccc", [2], None),
        ("0,GPU-1", [0, 1], None),
        ("2", [3], None),
        ("", [], "hides every"),
        ("  ", [], "hides every"),
        ("-1", [], "'-1'"),
        ("0,-1,1", [0], "'-1'"),
        ("0,7,1", [0], "'7'"),
        ("GPU-", [], "'GPU-'"),
        ("gpu-0aaa", [], "no device"),
        ("0,0", [], "twice"),
        ("0,GPU-0aaa", [], "twice"),
        ("NoDevFiles", [], "'NoDevFiles'"),
        ("0,", [0], "''"),
        ("٣", [], "no device"),
    ],
)
def test_a_mask_shows_what_cuda_would_show(
    mask: str | None, chosen: list[int], remark: str | None
) -> None:
    found, said = visible_cards(CARDS, mask)
    assert found == chosen
    assert (said is None) if remark is None else (said is not None and remark in said)


@pytest.mark.fault("G10")
@pytest.mark.parametrize(
    ("environ", "ambiguous"),
    [
        ({}, True),
        ({"CUDA_VISIBLE_DEVICES": "1,0"}, True),
        ({"CUDA_VISIBLE_DEVICES": "GPU-1,GPU-0"}, False),
        ({"CUDA_VISIBLE_DEVICES": "1,0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, False),
        ({"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, True),
    ],
)
def test_an_index_among_different_cards_is_remarked_on(
    environ: dict[str, str], ambiguous: bool
) -> None:
    assert (order_remark(CARDS[:2], environ) is not None) is ambiguous
    assert order_remark((CARDS[0], CARDS[0]), environ) is None


@pytest.mark.fault("G10")
@pytest.mark.parametrize(
    ("mask", "seen"),
    [
        ("0", ["GPU-0"]),
        ("1", ["GPU-1"]),
        ("1,0", ["GPU-1", "GPU-0"]),
        ("GPU-1,GPU-0", ["GPU-1", "GPU-0"]),
        ("", []),
    ],
)
def test_the_probe_keeps_to_the_mask_and_names_devices_by_uuid(
    nvml: StubNvml, probe: Callable[..., Any], mask: str, seen: list[str]
) -> None:
    nvml.set(count=2, **card(1, name="NVIDIA L4"))
    machine = probe(nvml.env(CUDA_VISIBLE_DEVICES=mask))
    assert [device["uuid"][:5] for device in machine["devices"]] == [*seen, "cpu"]
    assert ("CUDA_VISIBLE_DEVICES" in machine["unknown"]) is (mask == "")


@pytest.mark.fault("G10")
def test_a_uuid_stays_with_its_card_when_the_order_is_swapped(
    nvml: StubNvml, probe: Callable[..., Any]
) -> None:
    small, large = {"uuid": "GPU-small", "total": 24}, {"uuid": "GPU-large", "total": 141}
    masked = nvml.env(CUDA_VISIBLE_DEVICES="GPU-large")
    for first, second in ((small, large), (large, small)):
        nvml.set(count=2, **card(0, **first), **card(1, **second))
        device, _ = probe(masked)["devices"]
        assert (device["uuid"], device["total_bytes"]) == ("GPU-large", 141)
