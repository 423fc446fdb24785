"""After how many images a winner that compiles has paid for it, from trials that were run (M5)."""

from __future__ import annotations

from autotune.levers import start_up_s
from autotune.recipe.schema import BreakEven
from autotune.records import Candidate
from autotune.search.history import History, Tried, first_of, latency_of


def find_break_even(history: History, winner: Candidate) -> BreakEven | None:
    """The winner beside the fastest within the budget that starts at once; ``None`` if unknown.

    What is compiled is kept for the next trial of a study: only the first to compile shows what
    that costs, so the longest start of all that compile in the same way is taken.
    """
    starting = {lever: id for lever, id in winner.items() if start_up_s({lever: id})}
    timed = [one for one in history.feasible() if _extra_s(one) is not None]
    own = next((one for one in timed if one.candidate == winner), None)
    at_once = [one for one in timed if not start_up_s(one.candidate)]
    rival = min(at_once, key=_steady_s, default=None)
    if not starting or own is None or rival is None:
        return None
    alike = (one for one in timed if starting.items() <= one.candidate.items())
    return BreakEven(
        first_s=_steady_s(own) + max(_extra_s(one) or 0.0 for one in alike),
        steady_s=_steady_s(own),
        choices=rival.candidate,
        beside_first_s=_steady_s(rival) + (_extra_s(rival) or 0.0),
        beside_s=_steady_s(rival),
    )


def _steady_s(tried: Tried) -> float:
    return latency_of(tried.outcome) or 0.0  # never zero: what fits was timed


def _extra_s(tried: Tried) -> float | None:
    """What its first image took longer than the others."""
    first_s = first_of(tried.outcome)
    return None if first_s is None else max(0.0, first_s - _steady_s(tried))
