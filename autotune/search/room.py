"""Does the finalist leave room in its budget for the next process, and for a longer prompt?

A recipe runs where nobody watches: with other seeds, with longer prompts, in processes whose
peaks differ. What was measured within the budget four times may exceed it the fifth.
"""

from __future__ import annotations

import statistics
from dataclasses import replace

from autotune.records import Outcome, Workload
from autotune.search.confirm import Side
from autotune.search.history import Tried
from autotune.search.request import SIZE
from autotune.search.runner import Runner
from autotune.status import Status
from autotune.units import format_bytes

#: Peaks that lie so many standard deviations below the budget exceed it once in a thousand
#: processes, if they are normal. On a card they hardly differ; on a processor by 3 to 5 %.
_DEVIATIONS = 3.0
#: More words than any text encoder takes tokens; the pipeline cuts off what is too many.
_WORDS = 512
#: Seeds of a study are small numbers: this one was not used.
_OTHER_SEED = 10_007


def longest(workload: Workload) -> Workload:
    """The workload with the longest prompt there can be, and a seed that was not used."""
    words = max(workload.prompts, key=len).split() or ["picture"]
    prompt = " ".join((words * (_WORDS // len(words) + 1))[:_WORDS])
    return workload.but(prompts=(prompt,), seed=workload.seed + _OTHER_SEED)


def lacks_room(runner: Runner, finalist: Side) -> Tried | None:
    """Try the finalist once more; the trial that stands against it, or ``None``.

    Where the time is up it is not tried, and only the peaks there are decide.
    """
    budget = runner.request.budget_bytes
    peaks = [one.memory.peak_bytes for one in finalist.outcomes if one.memory is not None]
    if not runner.time_is_up:
        tried = runner.repeat(
            finalist.candidate,
            "the longest prompt",
            SIZE,
            budget_bytes=budget,
            workload=longest(runner.request.model.workload),
        )
        outcome = tried.outcome
        if _took_too_much(outcome):
            return tried
        if outcome.status is Status.MEASURED and outcome.memory is not None:
            peaks.append(outcome.memory.peak_bytes)
            finalist.others.append(outcome)
    else:
        tried = Tried(
            number=runner.count,
            candidate=finalist.candidate,
            why="confirm",
            outcome=finalist.outcomes[-1],
        )
    reach = statistics.mean(peaks) + _DEVIATIONS * statistics.stdev(peaks)
    if reach <= budget:
        return None
    message = (
        f"{len(peaks)} processes took {format_bytes(min(peaks))} to {format_bytes(max(peaks))}: "
        f"the next may take more than {format_bytes(budget)}"
    )
    outcome = tried.outcome.but(status=Status.OVER_BUDGET, message=message)
    return replace(tried, outcome=outcome)


def _took_too_much(outcome: Outcome) -> bool:
    return outcome.status in (Status.OVER_BUDGET, Status.OUT_OF_VRAM, Status.OUT_OF_RAM)
