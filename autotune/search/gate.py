"""The quality gate of a study: what makes pictures too unlike the baseline's is refused."""

from __future__ import annotations

from dataclasses import dataclass, replace

from autotune.quality import PRESETS, judge
from autotune.records import Fidelity, Likeness, Outcome
from autotune.search.history import Tried
from autotune.search.request import Request
from autotune.status import Status


@dataclass(kw_only=True)
class Gate:
    """Judges pictures by the quality that is asked for.

    ``noise`` is what an exact implementation differs by, once that is known. ``off`` says why
    nothing is refused.
    """

    quality: Fidelity = Fidelity.ANY
    off: str | None = None
    noise: Likeness | None = None

    @property
    def refuses(self) -> bool:
        """Whether anything can be refused."""
        return self.off is None and PRESETS[self.quality] is not None

    def judged(self, tried: Tried) -> Tried:
        """The trial, as one whose output is bad if its pictures differ too much."""
        outcome = tried.outcome
        if outcome.likeness is None or outcome.status is not Status.MEASURED or not self.refuses:
            return tried
        why = judge(outcome.likeness, self.quality, self.noise)
        if why is None:
            return tried
        return replace(tried, outcome=outcome.but(status=Status.BAD_OUTPUT, message=why))


def make_gate(request: Request) -> Gate:
    """The gate of a study."""
    random = request.model.weights == "random"
    off = "the weights are random: pictures mean nothing" if random else None
    # As for the choices of the space: a search-space file may ask for more.
    quality = min(request.quality, request.definition.quality, key=list(Fidelity).index)
    return Gate(quality=quality, off=off)


def is_unlike(outcome: Outcome) -> bool:
    """Whether the gate refused it: what was compared is not broken."""
    return outcome.status is Status.BAD_OUTPUT and outcome.likeness is not None
