"""What a trial says to the search: its time, its peak, and what it broke."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.status import Status

#: Within this share of the best time a candidate with fewer levers on is preferred (rule M15).
TIE_SHARE = 0.03
#: A timed generation this many times slower than the best cannot win any more.
GIVE_UP_SHARE = 2.5
#: The device's memory ran out. Of the host's, beside a card, a peak says nothing.
_TOO_LARGE = (Status.OUT_OF_VRAM, Status.OVER_BUDGET)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A trial judged against a budget.

    ``over`` is by which share of the budget the peak lies above it, at most 0 where it fits.
    """

    latency_s: float | None = None
    peak_bytes: int | None = None
    over: float = 0.0
    too_slow: bool = False
    failed: bool = False

    @property
    def fits(self) -> bool:
        """Whether it was measured within the budget."""
        return self.latency_s is not None and self.peak_bytes is not None and self.over <= 0


def judge(
    status: Status, latency_s: float | None, peak_bytes: int | None, budget_bytes: int
) -> Judged:
    """Judge how a trial ended, whatever budget it ran under.

    Args:
        status: How it ended.
        latency_s: Seconds for the workload, if it got so far.
        peak_bytes: Its peak, if it got so far.
        budget_bytes: What the peak has to stay within.
    """
    measured = status is Status.MEASURED or status in _TOO_LARGE
    if measured and latency_s is not None and peak_bytes is not None:
        over = peak_bytes / budget_bytes - 1
        return Judged(latency_s=latency_s, peak_bytes=peak_bytes, over=over)
    if status in _TOO_LARGE:
        return Judged(over=1.0)
    # What was still disturbed when waiting had been given up was slow beside its like.
    slow = status in (Status.TOO_SLOW, Status.INTERFERED, Status.THROTTLED)
    return Judged(too_slow=slow, failed=not slow)
