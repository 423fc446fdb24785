"""What a device can do at best: measured and remembered, from the table, or guessed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from autotune.errors import CannotRun
from autotune.estimate.cards import device_of, find_card
from autotune.estimate.ceilings import (
    Ceilings,
    ceilings_from_card,
    known_ceilings,
    measure_ceilings,
)
from autotune.files import cache_folder
from autotune.records import Device

CPU = Device(kind="cpu", uuid="cpu", name="A processor", total_bytes=1 << 34, free_bytes=1 << 33)
UNKNOWN = CPU.but(kind="cuda", uuid="GPU-1", name="NVIDIA Something New")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ceilings, Path]]:
    """The processor, measured once, and the folder in which that is remembered."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOTUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield measure_ceilings(CPU), cache_folder("ceilings")


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUTOTUNE_CACHE", str(tmp_path))
    return cache_folder("ceilings")


def test_a_processor_is_measured_in_each_format_that_it_multiplies(
    measured: tuple[Ceilings, Path],
) -> None:
    found, _ = measured
    assert found.source == "measured"
    assert {"fp32", "bf16", "fp16"} <= set(found.flops)
    assert all(1e8 < rate < 1e15 for rate in found.flops.values())
    assert 1e8 < found.copy_bytes_s < 1e13
    assert found.host_to_device_bytes_s is None
    assert 1e-8 < found.launch_s < 1e-2


def test_what_was_measured_is_remembered_for_the_device_and_the_version_of_torch(
    measured: tuple[Ceilings, Path],
) -> None:
    found, _ = measured
    assert known_ceilings(CPU) == found
    assert known_ceilings(CPU, "torch-1.0").source == "guess"
    assert known_ceilings(CPU.but(name="Another processor")).source == "guess"


@pytest.mark.parametrize(
    "broken", [b"", b"{", b"[]", b'{"source": "measured"}', b"\xff" * 9, b"x" * 100_000]
)
def test_a_broken_cache_is_as_none(measured: tuple[Ceilings, Path], broken: bytes) -> None:
    _, folder = measured
    (path,) = folder.iterdir()
    good = path.read_bytes()
    try:
        path.write_bytes(broken)
        assert known_ceilings(CPU).source == "guess"
    finally:
        path.write_bytes(good)


@pytest.mark.parametrize("change", [{"source": "table"}, {"launch_s": 0.0}, {"flops": {}}])
def test_a_cache_that_says_what_cannot_be_is_as_none(
    measured: tuple[Ceilings, Path], change: dict[str, object]
) -> None:
    found, folder = measured
    (path,) = folder.iterdir()
    good = path.read_bytes()
    try:
        path.write_text(found.model_copy(update=change).model_dump_json())
        assert known_ceilings(CPU).source == "guess"
    finally:
        path.write_bytes(good)


def test_a_device_that_is_not_here_is_not_measured(empty_cache: Path) -> None:
    with pytest.raises(CannotRun, match="is not here"):
        measure_ceilings(device_of(find_card("4090")))
    with pytest.raises(CannotRun, match="cannot be measured: "):
        measure_ceilings(UNKNOWN)
    assert list(empty_cache.iterdir()) == []


def test_a_card_of_the_table_has_the_ceilings_of_its_sheet(empty_cache: Path) -> None:
    card = find_card("4090")
    found = known_ceilings(device_of(card))
    assert found == ceilings_from_card(card)
    assert found.source == "table"
    assert found.copy_bytes_s == 1008e9


def test_of_a_link_four_fifths_are_reached() -> None:
    pcie_4, pcie_5 = (ceilings_from_card(find_card(name)) for name in ("4090", "H100"))
    assert pcie_4.host_to_device_bytes_s == pytest.approx(25.2e9, rel=0.01)
    assert pcie_5.host_to_device_bytes_s == pytest.approx(50.4e9, rel=0.01)


def test_a_card_in_a_narrow_slot_copies_no_faster_than_the_slot(empty_cache: Path) -> None:
    device = device_of(find_card("4090")).but(pcie_generation=3, pcie_width=4)
    found = known_ceilings(device).host_to_device_bytes_s
    assert found == pytest.approx(3.15e9, rel=0.01)


def test_an_unknown_card_is_guessed_to_be_a_slow_one(empty_cache: Path) -> None:
    found, slow = known_ceilings(UNKNOWN), ceilings_from_card(find_card("3060"))
    assert found.source == "guess"
    assert found.flops["fp32"] <= slow.flops["fp32"]
    assert found.copy_bytes_s <= slow.copy_bytes_s


def test_memory_that_the_host_has_too_has_no_link(empty_cache: Path) -> None:
    assert known_ceilings(CPU.but(kind="mps")).host_to_device_bytes_s is None
    assert known_ceilings(CPU).host_to_device_bytes_s is None


def test_a_format_without_a_unit_runs_as_another() -> None:
    old, turing = (ceilings_from_card(find_card(name)) for name in ("1080 Ti", "T4"))
    assert old.rate("bf16") == old.rate("fp16") == old.rate("fp8") == old.flops["fp32"]
    assert turing.rate("bf16") == turing.rate("tf32") == turing.flops["fp32"]
    assert turing.rate("fp8") == turing.flops["fp16"]
