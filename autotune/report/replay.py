"""What ``autotune replay`` answers, for people and as JSON (design §6)."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

from autotune.report.words import change_phrase, console_for
from autotune.units import format_both, format_duration

if TYPE_CHECKING:
    from autotune.search.recorded import RecordedSpace, Row
    from autotune.search.replay import Run

#: Numbers of trials after which it is said how far the search is.
_MARKS = (5, 10, 20, 30, 60, 100, 200)
#: A search has arrived when it is within this share of the best there is.
NEAR = 1.05


def to_json(optimum: Row | None, runs: Sequence[Run]) -> dict[str, Any]:
    """The object ``replay --json`` prints."""
    best = optimum.latency_s if optimum else None
    return {
        "optimum_latency_s": best,
        "runs": [
            {
                "seed": run.seed,
                "best_latency_s": run.best_latency_s,
                "ratio": run.best_latency_s / best if run.best_latency_s and best else None,
                "trials": [
                    {
                        "n": step.n,
                        "best_latency_s": step.best_latency_s,
                        "charged_s": step.charged_s,
                    }
                    for step in run.steps
                ],
            }
            for run in runs
        ],
    }


def print_replay(
    table: RecordedSpace, budget_bytes: int, sampler: str, runs: Sequence[Run], stream: TextIO
) -> None:
    """Print the space, its best, and how far the search was after some numbers of trials."""
    from rich.table import Table

    console = console_for(stream)
    optimum = table.optimum(budget_bytes)
    ends = Counter(row.outcome.value for row in table.rows.values())
    listed = ", ".join(f"{count} {status}" for status, count in ends.most_common())
    console.print(f"space    {len(table.rows):,} candidates: {listed}", soft_wrap=True)
    console.print(f"budget   {format_both(budget_bytes)}")
    if optimum is None or optimum.latency_s is None:
        console.print("best     nothing in the table fits")
        return
    baseline = table.header.baseline
    changes = {name: id for name, id in optimum.choices.items() if baseline[name] != id}
    best = optimum.latency_s
    console.print(
        f"best     {format_duration(best)} an image: {change_phrase(changes)}", soft_wrap=True
    )
    longest = max(len(run.steps) for run in runs)
    seeds = "1 seed" if len(runs) == 1 else f"{len(runs)} seeds"
    console.print(f"search   {sampler}, {seeds}, {longest} trials at the most")
    console.print()
    grid = Table(box=None, pad_edge=False, header_style="")
    for heading in ("after trials", "median ratio", "within 5 %", "charged"):
        grid.add_column(heading, justify="right", no_wrap=True)
    for mark in dict.fromkeys([*(one for one in _MARKS if one < longest), longest]):
        grid.add_row(*_line(mark, runs, best))
    console.print(grid)


def _line(mark: int, runs: Sequence[Run], best: float) -> tuple[str, str, str, str]:
    steps = [run.after(mark) for run in runs]
    ratios = [step.best_latency_s / best if step.best_latency_s else math.inf for step in steps]
    median = statistics.median(ratios)
    near = sum(ratio <= NEAR for ratio in ratios) / len(ratios)
    charged = statistics.median(step.charged_s for step in steps)
    return (
        str(mark),
        "nothing fits" if math.isinf(median) else f"{median:.2f}",
        f"{near:.0%}",
        format_duration(charged),
    )
