"""What ``suggest`` shows while it runs, on standard error: a live line on a terminal, else lines.

Everything is driven by events; nothing repaints by itself, since a timer would compute beside the
measurement.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from autotune.cli import drop
from autotune.engine.base import Step
from autotune.records import Candidate
from autotune.report.words import change_phrase, console_for, outcome_phrase
from autotune.search.funnel import Funnel
from autotune.search.history import History, Tried
from autotune.search.listener import Listener, Silence
from autotune.search.request import Request
from autotune.search.space import Space
from autotune.units import format_both, format_bytes, format_duration

if TYPE_CHECKING:
    from rich.status import Status as Spinner


@contextmanager
def make_view(*, quiet: bool) -> Iterator[Listener]:
    """The view for this run; it is gone from the terminal when the block ends."""
    if quiet:
        yield Silence()
        return
    view = View()
    try:
        yield view
    finally:
        view.stop_spinner()


class View:
    """Prints the plan and a line per trial; on a terminal the running trial has a live line."""

    def __init__(self) -> None:
        self._console = console_for(sys.stderr)
        self._spinner: Spinner | None = None
        self._space: Space | None = None
        self._running = ""

    def waiting(self, what: str) -> None:
        """See Listener."""
        self._show(what)

    def planned(self, requests: Sequence[Request], space: Space, funnel: Funnel) -> None:
        """See Listener."""
        self.stop_spinner()
        self._space = space
        request, most = requests[0], sum(one.trials for one in requests)
        model, work = request.model, request.model.workload
        fixed = len(space.levers) - len(space.open_levers)
        size = f"{work.width}×{work.height}" + (f"×{work.frames}" if work.frames else "")
        self._line(f"model    {model.id} ({model.pipeline}, {model.weights} weights)")
        self._line(f"device   {request.device.name} ({request.device.kind})")
        budgets = ", ".join(format_both(one.budget_bytes) for one in requests)
        self._line(f"budget   {budgets}")
        self._line(f"workload {size}, {work.steps} steps, batch {work.batch}, seed {work.seed}")
        self._line(f"measured {request.objective.sentence}; effort {request.efforts.name}")
        about = "" if funnel.exact else "about "
        self._line(
            f"plan     {funnel.all:,} combinations → {about}{funnel.legal:,} legal → "
            f"{about}{funnel.may_fit:,} may fit → at most {most} will be measured"
        )
        self._line(
            f"levers   {len(space.open_levers)} are open, {fixed} more have one choice here"
        )
        for lever, ids in space.open_levers.items():
            self._line(f"           {lever}: {', '.join(ids)}")

    def chapter(self, title: str) -> None:
        """See Listener."""
        self._line("")
        self._line(title)

    def started(self, number: int, candidate: Candidate, why: str) -> None:
        """See Listener."""
        changes = self._space.changes(candidate) if self._space else candidate
        self._running = f"{number:>4}  {change_phrase(changes)} ({why})"
        self._show(self._running)

    def stepped(self, step: Step) -> None:
        """See Listener."""
        progress = f" {step.facts['n']} of {step.facts['of']}" if "of" in step.facts else ""
        self._show(f"{self._running}: {step.stage}{progress}")

    def ended(self, tried: Tried, history: History) -> None:
        """See Listener."""
        changes = change_phrase(history.space.changes(tried.candidate))
        parts = [outcome_phrase(tried, history.budget_bytes)]
        if tried.latency_s is not None:
            parts.insert(0, f"{format_duration(tried.latency_s)} {tried.objective.unit}")
        if tried.peak_bytes is not None:
            parts.insert(-1, f"peak {format_bytes(tried.peak_bytes)}")
        self.stop_spinner()
        self._line(f"{tried.number:>4}  {changes} ({tried.why}): {', '.join(parts)}")

    def said(self, sentence: str) -> None:
        """See Listener."""
        self._line(f"      {sentence}")

    def stop_spinner(self) -> None:
        """Take the live line away."""
        if self._spinner is not None:
            with _whoever_listens():
                self._spinner.stop()
            self._spinner = None

    def _show(self, text: str) -> None:
        if not self._console.is_terminal:
            return
        if self._spinner is None:
            # One repaint a second is all the spinner may cost a trial on the same cores.
            self._spinner = self._console.status("", refresh_per_second=1)
            with _whoever_listens():
                self._spinner.start()
        from rich.text import Text

        self._spinner.update(Text(text, no_wrap=True, overflow="ellipsis"))

    def _line(self, text: str) -> None:
        with _whoever_listens():
            self._console.print(text, soft_wrap=True)


@contextmanager
def _whoever_listens() -> Iterator[None]:
    """Around what is shown: whose reader, terminal or disk is gone, a study goes on (C16)."""
    try:
        yield
    except OSError:
        drop(sys.stderr)
