"""What each lever of the winner bought: each is put back once, alone, and the rest stays.

This is the answer to "which knob did it". What the search has measured anyway is not run again.
"""

from __future__ import annotations

from collections.abc import Iterator

from autotune.recipe.schema import Bought, Measured
from autotune.records import Candidate
from autotune.search.admission import Admission
from autotune.search.history import History, Tried, times_of
from autotune.search.runner import Runner, environment_failed
from autotune.status import Status


def find_bought(
    runner: Runner, history: History, admission: Admission, winner: Measured
) -> Iterator[Bought]:
    """Put every lever of the winner back, as long as there is time."""
    whole = {**history.space.baseline, **winner.choices}
    for lever, choice in history.space.changes(whole).items():
        without = {**whole, lever: history.space.baseline[lever]}
        rule = admission.rule(without)
        if rule is not None:
            yield Bought(lever=lever, choice=choice, status=Status.UNSUPPORTED, why=rule)
            continue
        tried = _known(history, without)
        if tried is None:
            if runner.time_is_up:
                return
            effort = runner.request.efforts.screen
            tried = runner.repeat(without, f"without {lever}", effort, budget_bytes=None)
        if not environment_failed(tried.outcome):
            yield _compared(lever, choice, tried, _beside(history, whole, tried, winner))


def _compared(lever: str, choice: str, tried: Tried, beside: tuple[float, int]) -> Bought:
    if tried.peak_bytes is None:
        why = tried.outcome.message or tried.outcome.status.sentence
        return Bought(lever=lever, choice=choice, status=tried.outcome.status, why=why)
    return Bought(
        lever=lever,
        choice=choice,
        status=Status.MEASURED,
        samples_s=times_of(tried.outcome, tried.objective),
        beside_s=beside[0],
        peak_bytes=tried.peak_bytes,
        beside_bytes=beside[1],
    )


def _known(history: History, candidate: Candidate) -> Tried | None:
    """The trial of the search that ran a candidate to its end, within the budget or not."""
    whole = (one for one in history.last_tried() if one.peak_bytes is not None)
    return next((one for one in whole if one.candidate == candidate), None)


def _beside(
    history: History, whole: Candidate, tried: Tried, winner: Measured
) -> tuple[float, int]:
    """The winner's time and peak from the same kind of trial."""
    own = _known(history, whole)
    same = own is not None and own.steps == tried.steps
    if own is not None and same and own.latency_s is not None and own.peak_bytes is not None:
        return own.latency_s, own.peak_bytes
    return winner.seconds(tried.objective), winner.peak_bytes
