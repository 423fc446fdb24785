"""Films the card of a study, from its first trial to its last.

Without a film (no permission, a driver that hangs) outcomes stay as trials wrote them, which is
said once (fault matrix G5).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from autotune.engine.child import child_environment
from autotune.engine.held_against import Take, held_against
from autotune.errors import CannotRun
from autotune.files import PRIVATE_UMASK
from autotune.probe.film import STOPPED_S, FilmFile, Frame
from autotune.probe.spoilt import keeps_busy, tolerance_bytes
from autotune.records import Device, Outcome, TrialSpec
from autotune.status import Status
from autotune.units import format_bytes

FILM = "film.jsonl"
#: The driver has had the seconds in which torch is imported, and brings up a card in three.
_FIRST_FRAME_S = 5.0
#: Until a look at the processes, twice a second, is newer than the end of one.
_NEWS_S = 0.6
#: How long memory may take to come back after a trial, and how long measuring pauses where it
#: does not (fault matrix T22).
_SETTLE_S, _PAUSE_S = 10.0, 60.0
_LOOK_S = 0.05
#: How long a camera may take to end.
_END_S = 5.0


class Filming:
    """A camera for as long as a study has its device.

    Args:
        device: An NVIDIA card.
        folder: Where the film goes.
        say: Receives sentences for the user.
    """

    def __init__(self, device: Device, folder: Path, say: Callable[[str], None]) -> None:
        self._device, self._say = device, say
        self._first_bytes: int | None = None
        self._held = 0
        self._said_blind = False
        path = folder / FILM
        path.unlink(missing_ok=True)  # that of an interrupted study
        self._file = FilmFile(path)
        self.film = self._file.film
        self._camera = subprocess.Popen(
            [sys.executable, "-m", "autotune.probe.camera", device.uuid, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=child_environment(device, os.environ),
            umask=PRIVATE_UMASK,
            start_new_session=True,  # an interrupt is meant for the study, which ends the film
        )

    def look(self) -> str | None:
        """Take in what is new; returns why no trial can run on the card any more, if so."""
        return self._file.read().lost

    def begin(self) -> float:
        """Be ready for a trial; returns the moment.

        Raises:
            CannotRun: If the card is lost.
        """
        film = self._file.read()
        if not film.frames and not self._said_blind:
            self._wait(lambda: bool(film.frames or film.ended or film.lost), _FIRST_FRAME_S)
        if self._first_bytes is None and film.frames:
            # The engine's own look at the model may have ended a moment ago, on the card.
            news_s = time.monotonic() + _NEWS_S
            self._wait(lambda: film.frames[-1].at_s >= news_s or not self._is_rolling(), _NEWS_S)
        if self._held:
            self._pause(film.frames[-1])
        if film.lost is not None:
            raise CannotRun(film.lost, hint=film.hint)
        if not self._is_rolling() and not self._said_blind:
            self._said_blind = True
            why = film.ended or "the driver does not answer"
            self._say(f"what others do to the device is not seen: {why}")
        start_s = time.monotonic()
        film.forget(start_s)
        if self._first_bytes is None and film.frames:
            self._first_bytes = film.frames[-1].used_bytes
        return start_s

    def judged(
        self,
        spec: TrialSpec,
        outcome: Outcome,
        start_s: float,
        stages: Sequence[tuple[str, float]],
    ) -> Outcome:
        """The outcome of a trial whose process has just ended, as the film lets it stand."""
        end_s = time.monotonic()
        lost = self.look()
        if lost is not None and outcome.status is not Status.MEASURED:
            return outcome.but(status=Status.DEVICE_LOST, message=lost)
        before = self.film.at(start_s)
        if outcome.status is Status.CANCELLED or before is None or not self._is_rolling():
            return outcome
        self._settle(before, end_s)
        take = Take(
            film=self.film,
            start_s=start_s,
            end_s=end_s,
            stages=stages,
            total_bytes=self._device.total_bytes,
            first_bytes=self._first_bytes,
        )
        self._held = take.held()
        return held_against(take, outcome, spec.budget_bytes)

    def close(self) -> None:
        """End the film."""
        assert self._camera.stdin is not None
        self._camera.stdin.close()
        try:
            self._camera.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._camera.kill()
            with suppress(subprocess.TimeoutExpired):  # in the driver, where nothing ends it
                self._camera.wait(_END_S)
        self._file.close()

    def _is_rolling(self) -> bool:
        film = self.film
        if not film.frames or film.ended is not None or film.lost is not None:
            return False
        return time.monotonic() - film.frames[-1].at_s < STOPPED_S

    def _wait(self, true: Callable[[], bool], most_s: float) -> None:
        """Wait for the film to show something, or so long."""
        end_s = time.monotonic() + most_s
        while not true() and time.monotonic() < end_s:
            time.sleep(_LOOK_S)
            self._file.read()

    def _settle(self, before: Frame, end_s: float) -> None:
        """Wait until the card is as it was before the trial, or long enough."""
        tolerance = tolerance_bytes(self._device.total_bytes)

        def is_as_before(after: Frame) -> bool:
            grown = (after.used_bytes or 0) - (before.used_bytes or 0)
            more = (after.processes or 0) > (before.processes or 0)
            return grown <= tolerance and not more and not keeps_busy(after)

        def settled() -> bool:
            after = self.film.frames[-1]
            return after.at_s >= end_s + _NEWS_S and is_as_before(after)

        self._wait(lambda: settled() or not self._is_rolling(), _SETTLE_S)

    def _pause(self, last: Frame) -> None:
        """Wait for memory that a trial has left behind."""
        self._say(
            f"the device is suspect: {format_bytes(self._held)} of its memory stay in use though "
            "the trial has ended; waiting until they are given back"
        )
        tolerance = tolerance_bytes(self._device.total_bytes)
        enough = (last.used_bytes or 0) - self._held + tolerance

        def given_back() -> bool:
            return (self.film.frames[-1].used_bytes or 0) <= enough

        self._wait(lambda: given_back() or self.film.lost is not None, _PAUSE_S)
        if not given_back():
            self._say("they are not given back: going on with what is left")
        self._held = 0
