"""What ``autotune verify`` answers, for people and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO

from autotune.report.words import console_for, disturbed_phrase
from autotune.units import format_bytes, format_duration, format_ratio

if TYPE_CHECKING:
    from autotune.search.verify import Verified


def print_verified(verified: Verified, name: str, stream: TextIO) -> None:
    """Print the recipe beside what was measured."""
    console = console_for(stream)
    for line in lines(verified, name):
        console.print(line, soft_wrap=True)


def lines(verified: Verified, name: str) -> Iterator[str]:
    """Recorded and measured, a line each, and what follows."""
    recipe, check = verified.recipe, verified.check
    recorded = recipe.evidence.winner
    yield f"{name}: {recipe.status}, written by {recipe.writer}"
    yield f"match:    {check.match}"
    for one in check.differences:
        yield f"          {one.field} was {one.recorded}, here it is {one.here} ({one.severity})"
    for problem in check.problems:
        yield f"          {problem}"
    aim = recipe.aim
    yield (
        f"recorded: {format_duration(recorded.seconds(aim))} {aim.unit} "
        f"({format_duration(verified.low_s)} to {format_duration(verified.high_s)}), "
        f"peak {format_bytes(recorded.peak_bytes)}"
    )
    if verified.winner is not None and verified.ratio is not None:
        medians = [statistics.median(one) for one in verified.winner.times_s(aim)]
        yield (
            f"here:     {format_duration(verified.winner.seconds(aim))} {aim.unit} "
            f"({format_duration(min(medians))} to {format_duration(max(medians))} in "
            f"{len(medians)} processes), {format_ratio(verified.ratio)} the time, "
            f"peak {format_bytes(verified.winner.peak_bytes)} of "
            f"{format_bytes(recipe.budget.bytes)}"
        )
        disturbed = disturbed_phrase(verified.winner)
        if disturbed is not None:
            yield f"          {disturbed}"
    if verified.failed is not None:
        outcome = verified.failed.outcome
        yield f"here:     {outcome.message or outcome.status.sentence}"
    yield f"verdict:  {verified.holding.sentence}"
    if verified.recipe_path is not None:
        yield f"recipe:   {verified.recipe_path}"
    elif recipe.budget.emulated and verified.holding.good:
        yield "          its budget was emulated: --out FILE writes it with this device's numbers"


def to_json(verified: Verified) -> dict[str, Any]:
    """The object ``verify --json`` prints."""
    recorded, winner, aim = verified.recipe.evidence.winner, verified.winner, verified.recipe.aim
    failed = verified.failed.outcome if verified.failed else None
    return {
        "verdict": verified.holding.value,
        "match": verified.check.match,
        "differences": [one.model_dump(mode="json") for one in verified.check.differences],
        "problems": list(verified.check.problems),
        "recorded": {"latency_s": recorded.seconds(aim), "peak_bytes": recorded.peak_bytes},
        "here": {
            "latency_s": winner.seconds(aim),
            "peak_bytes": winner.peak_bytes,
            "processes_s": [list(one) for one in winner.times_s(aim)],
        }
        if winner is not None
        else None,
        "ratio": verified.ratio,
        "failed": {"status": failed.status.value, "message": failed.message} if failed else None,
        "budget_bytes": verified.recipe.budget.bytes,
        "recipe": str(verified.recipe_path) if verified.recipe_path else None,
        "folder": str(verified.folder),
    }
