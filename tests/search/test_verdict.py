"""How a trial's end is judged: live and in a replay by the same few lines."""

from __future__ import annotations

import pytest

from autotune.search.verdict import Judged, judge
from autotune.status import Status


def test_what_was_measured_is_judged_by_its_peak_whatever_it_ran_under() -> None:
    fits = judge(Status.MEASURED, 1.0, 80, 100)
    assert fits.fits
    assert fits.over == pytest.approx(-0.2)
    for status in (Status.MEASURED, Status.OVER_BUDGET):
        large = judge(status, 1.0, 120, 100)
        assert not large.fits
        assert (large.latency_s, large.peak_bytes) == (1.0, 120)
        assert large.over == pytest.approx(0.2)
    assert judge(Status.OVER_BUDGET, 1.0, 120, 150).fits


@pytest.mark.parametrize("status", [Status.OVER_BUDGET, Status.OUT_OF_VRAM])
def test_memory_that_ran_out_on_the_way_is_no_failure(status: Status) -> None:
    assert judge(status, None, None, 100) == Judged(over=1.0)


def test_what_was_too_slow_is_told_apart_from_what_does_not_run() -> None:
    assert judge(Status.TOO_SLOW, None, None, 100) == Judged(too_slow=True)
    for status in (Status.CRASHED, Status.OUT_OF_RAM, Status.NOT_APPLIED, Status.BAD_OUTPUT):
        assert judge(status, None, None, 100) == Judged(failed=True)
    # A picture that is broken has a time, which must not count.
    assert judge(Status.BAD_OUTPUT, 0.1, 50, 100) == Judged(failed=True)
