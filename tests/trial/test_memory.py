"""The memory meter finds a peak in the phase it belongs to, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.trial import memory
from autotune.trial.memory import HostMeter, make_meter, status_bytes
from tests.trial.bench import CPU

MIB = 1 << 20
BLOCK = 200 * MIB
#: Arenas, counters that lag by some pages per core, and what pytest itself does.
NOISE = 20 * MIB


def touch_and_free(size: int = BLOCK) -> None:
    """Have that much resident for a moment. Blocks so large go back to the system when freed."""
    block = b"x" * size
    assert len(block) == size


def test_a_peak_belongs_to_its_phase_and_not_to_the_next() -> None:
    meter = make_meter(CPU)
    meter.mark("load")
    touch_and_free()
    meter.mark("denoise")
    meter.mark("decode")
    report = meter.report()
    assert report.phases["load"] < NOISE
    assert BLOCK - NOISE < report.phases["denoise"] < BLOCK + NOISE
    assert report.phases["decode"] < NOISE
    assert report.peak_bytes == report.phases["denoise"]
    assert list(report.phases) == ["load", "denoise", "decode"]


def test_memory_that_is_kept_counts_in_every_later_phase() -> None:
    meter = make_meter(CPU)
    kept = b"x" * BLOCK
    meter.mark("load")
    meter.mark("denoise")
    phases = meter.report().phases
    assert phases["load"] > BLOCK - NOISE
    assert phases["denoise"] > BLOCK - NOISE
    assert len(kept) == BLOCK


def test_a_phase_marked_twice_keeps_its_larger_peak() -> None:
    meter = make_meter(CPU)
    touch_and_free()
    meter.mark("decode")
    meter.mark("decode")
    assert meter.report().phases["decode"] > BLOCK - NOISE


def test_what_was_used_before_the_meter_is_the_level_and_no_peak() -> None:
    kept = b"x" * BLOCK
    meter = make_meter(CPU)
    meter.mark("load")
    report = meter.report()
    assert report.level_bytes > BLOCK
    assert report.peak_bytes < NOISE
    assert len(kept) == BLOCK


def test_an_earlier_peak_of_the_process_is_forgotten() -> None:
    touch_and_free()
    before = status_bytes("VmHWM")
    make_meter(CPU)
    assert status_bytes("VmHWM") < before - BLOCK + NOISE


def test_where_the_kernel_forbids_the_reset_peaks_only_grow_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "does not let it be reset" not in HostMeter().report().how
    monkeypatch.setattr(memory, "_CLEAR_REFS", tmp_path / "missing" / "clear_refs")
    meter = HostMeter()
    touch_and_free()
    meter.mark("load")
    meter.mark("denoise")
    report = meter.report()
    assert report.phases["denoise"] >= report.phases["load"]
    assert "does not let it be reset" in report.how


def test_a_line_that_the_kernel_does_not_write_is_an_error() -> None:
    assert status_bytes("VmRSS") > MIB
    with pytest.raises(OSError, match="no line VmNothing"):
        status_bytes("VmNothing")
