"""What a study says while it runs. Views implement this; the study does not know them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from autotune.engine.base import Step
from autotune.records import Candidate
from autotune.search.funnel import Funnel
from autotune.search.history import History, Tried
from autotune.search.request import Request
from autotune.search.space import Space


class Listener(Protocol):
    """Receives the events of one study."""

    def waiting(self, what: str) -> None:
        """Nothing can be shown for some seconds, because of this."""

    def planned(self, requests: Sequence[Request], space: Space, funnel: Funnel) -> None:
        """The space is known, for each budget; the first trial follows."""

    def chapter(self, title: str) -> None:
        """Another part begins: search, confirmation, sizing."""

    def started(self, number: int, candidate: Candidate, why: str) -> None:
        """A trial began."""

    def stepped(self, step: Step) -> None:
        """The running trial reached a stage."""

    def ended(self, tried: Tried, history: History) -> None:
        """A trial ended."""

    def said(self, sentence: str) -> None:
        """Something the user should know."""


class Silence:
    """A listener that shows nothing."""

    def waiting(self, what: str) -> None:
        """See Listener."""

    def planned(self, requests: Sequence[Request], space: Space, funnel: Funnel) -> None:
        """See Listener."""

    def chapter(self, title: str) -> None:
        """See Listener."""

    def started(self, number: int, candidate: Candidate, why: str) -> None:
        """See Listener."""

    def stepped(self, step: Step) -> None:
        """See Listener."""

    def ended(self, tried: Tried, history: History) -> None:
        """See Listener."""

    def said(self, sentence: str) -> None:
        """See Listener."""
