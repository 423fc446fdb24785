"""Wait until others leave the device alone, before a trial is repeated that they spoilt."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from autotune.probe.neighbours import Snapshot, neighbours, share_of_others
from autotune.records import Device, Outcome
from autotune.status import Status

#: What others may take of the processors (as inside a trial), and of a card.
_SHARE, _UTILISATION = 0.05, 0.10
#: Between two looks, in one wait, and in all waits of a study: after that it is a busy machine.
_LOOK_S, _MOST_S, _MOST_IN_ALL_S = 1.0, 60.0, 180.0
#: A card that slowed itself down gets so long to cool (rule M11: pause, then retry).
_COOL_S = 30.0


def was_spoilt(outcome: Outcome) -> bool:
    """Whether something beside the candidate decided what was measured."""
    spoilt = (Status.INTERFERED, Status.THROTTLED)
    return outcome.disturbed is not None or outcome.status in spoilt


@dataclass(kw_only=True)
class Calm:
    """Waits for a calm device; ``given_up`` when waiting was of no use."""

    device: Device
    say: Callable[[str], None]
    given_up: bool = False
    _waited_s: float = field(default=0.0, init=False)

    def wait(self, outcome: Outcome, stop_at: float | None) -> None:
        """Wait after a trial that was spoilt, not beyond a monotonic time."""
        if self.given_up:
            return
        start = time.monotonic()
        end = start + min(_MOST_S, _MOST_IN_ALL_S - self._waited_s)
        if stop_at is not None:
            end = min(end, stop_at)
        hot = outcome.filmed is not None and outcome.filmed.slowed_down is not None
        if hot or outcome.status is Status.THROTTLED:
            self.say("the device slowed itself down: waiting for it to cool")
            time.sleep(max(0.0, min(_COOL_S, end - start)))
        self._watch(end)
        self._waited_s += time.monotonic() - start
        if self._waited_s >= _MOST_IN_ALL_S:
            self.given_up = True
            self.say("others do not leave the device alone: going on, what they disturb is marked")

    def _watch(self, end: float) -> None:
        said = False
        before = self._look()
        while time.monotonic() < end:
            time.sleep(_LOOK_S)
            after = self._look()
            busy = _busy(before, after)
            if busy is None:
                return
            if not said:
                self.say(f"{busy}: waiting until that ends")
                said = True
            before = after

    def _look(self) -> Snapshot:
        return neighbours(self.device, (os.getpid(),))


def _busy(before: Snapshot, after: Snapshot) -> str | None:
    """What others do, now that no trial runs."""
    share = share_of_others(before, after) or 0.0
    if share >= _SHARE:
        return f"other processes take {share:.0%} of the processors' time"
    if (after.utilisation or 0.0) >= _UTILISATION:
        return f"other processes keep the device busy for {after.utilisation:.0%} of the time"
    return None
