"""Host memory beside an accelerator: what is measured, and what is judged."""

from __future__ import annotations

import inspect
import mmap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autotune.records import Memory, TrialSpec
from autotune.status import Status
from autotune.trial import memory, run
from autotune.trial.memory import AcceleratorMeter, BesideMeter, HostMeter
from tests.levers.built import card
from tests.trial.bench import trial_spec
from tests.trial.test_memory import BLOCK, MIB, NOISE, touch_and_free


def fake_module(**more: Any) -> SimpleNamespace:
    """A device of 1 GiB on which nothing happens."""
    return SimpleNamespace(
        set_device=lambda index: None,
        reset_peak_memory_stats=lambda: None,
        synchronize=lambda: None,
        max_memory_reserved=lambda: 10 * MIB,
        max_memory_allocated=lambda: 8 * MIB,
        memory_reserved=lambda: 10 * MIB,
        device_memory_used=lambda index: 100 * MIB,
        **more,
    )


def make_meter(monkeypatch: pytest.MonkeyPatch, **more: Any) -> AcceleratorMeter:
    monkeypatch.setattr(memory, "torch_module", lambda device: fake_module(**more))
    monkeypatch.setattr(memory, "torch_index", lambda device: 0)
    return AcceleratorMeter(card())


def test_what_offloaded_weights_take_of_the_host_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    meter = make_meter(monkeypatch)
    meter.mark("load")
    touch_and_free()
    meter.mark("denoise")
    meter.mark("decode")
    report = meter.report()
    assert report.host_bytes is not None
    assert BLOCK - NOISE < report.host_bytes < BLOCK + NOISE
    assert report.peak_bytes == 10 * MIB
    assert report.pinned_bytes is None


def read_through(path: Path, kept: list[Any]) -> None:
    """Have a file's pages resident, as weights are while they are loaded."""
    with path.open("rb") as file:
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    assert pages[:: mmap.PAGESIZE].count(b"x") == BLOCK // mmap.PAGESIZE
    kept.append(pages)


def test_pages_of_a_file_count_once_pictures_are_made_and_not_while_loading(
    tmp_path: Path,
) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"x" * BLOCK)
    kept: list[Any] = []
    meter = BesideMeter()
    read_through(path, kept)
    meter.mark("load")
    assert meter.peak_bytes() < NOISE
    meter.mark("denoise")
    assert BLOCK - NOISE < meter.peak_bytes() < BLOCK + NOISE


def test_memory_that_loading_leaves_behind_counts() -> None:
    meter = BesideMeter()
    kept = b"x" * BLOCK
    meter.mark("load")
    assert BLOCK - NOISE < meter.peak_bytes() < BLOCK + NOISE
    assert len(kept) == BLOCK


def test_where_the_kernel_forbids_the_reset_only_memory_without_a_file_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"x" * BLOCK)
    monkeypatch.setattr(memory, "_CLEAR_REFS", tmp_path / "missing" / "clear_refs")
    kept: list[Any] = []
    meter = BesideMeter()
    assert not HostMeter().can_reset
    read_through(path, kept)
    meter.mark("load")
    meter.mark("denoise")
    assert meter.peak_bytes() < NOISE


def test_what_a_process_has_on_the_card_beside_the_allocator_is_its_context(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    meter = make_meter(monkeypatch)
    meter._module.device_memory_used = lambda index: 730 * MIB
    assert meter.outside_bytes() == (730 - 100 - 10) * MIB


def test_pinned_memory_is_what_torch_says_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    statistics = {"allocated_bytes.peak": 7 * MIB, "allocated_bytes.current": MIB}
    meter = make_meter(monkeypatch, host_memory_stats=lambda: statistics)
    meter.mark("load")
    assert meter.report().pinned_bytes == 7 * MIB
    untouched = make_meter(monkeypatch, host_memory_stats=dict)
    untouched.mark("load")
    assert untouched.report().pinned_bytes is None


def test_torch_has_the_statistics_that_are_read() -> None:
    import torch

    assert dict(torch.cuda.host_memory_stats()) == {}  # no card was touched
    assert "allocated_bytes.{current,peak" in inspect.getdoc(torch.cuda.host_memory_stats)


def test_without_proc_a_card_is_measured_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "missing")
    meter = make_meter(monkeypatch)
    meter.mark("load")
    assert (meter.report().host_bytes, meter.report().peak_bytes) == (None, 10 * MIB)


# ------------------------------------------------------------------------------------ judged


class HostShown(HostMeter):
    """A meter whose report has host memory in it, as an accelerator's has."""

    host_bytes: int | None = None
    pinned_bytes: int | None = None

    def report(self) -> Memory:
        return super().report().but(host_bytes=self.host_bytes, pinned_bytes=self.pinned_bytes)


def judged(
    monkeypatch: pytest.MonkeyPatch, folder: Path, spec: TrialSpec, host: int, pinned: int | None
) -> tuple[Status, str]:
    meter = HostShown()
    meter.host_bytes, meter.pinned_bytes = host, pinned
    monkeypatch.setattr(run, "make_meter", lambda device: meter)
    outcome = run.run_trial(spec, folder)
    assert outcome.memory is not None
    assert (outcome.memory.host_bytes, outcome.memory.pinned_bytes) == (host, pinned)
    return outcome.status, outcome.message


@pytest.mark.trials
def test_host_memory_above_its_budget_is_out_of_ram_with_both_values(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = trial_spec(ram_bytes=1000)
    over = (Status.OUT_OF_RAM, "host memory peak 1001 bytes, --ram 1000 bytes")
    assert judged(monkeypatch, tmp_path, spec, 1001, None) == over
    assert judged(monkeypatch, tmp_path, spec, 10, 1001) == over
    assert judged(monkeypatch, tmp_path, spec, 1000, 1000) == (Status.MEASURED, "")
    free = trial_spec(ram_bytes=None)
    assert judged(monkeypatch, tmp_path, free, 1 << 60, None) == (Status.MEASURED, "")
