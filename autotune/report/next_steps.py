"""What more memory would buy, and what to try where a recipe is not good enough: from it alone."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from autotune.report.words import change_phrase, differing
from autotune.stats.compare import Verdict
from autotune.status import Status
from autotune.units import format_bytes, format_duration, format_ratio

if TYPE_CHECKING:
    from autotune.recipe.schema import FrontierPoint, Recipe

#: Cards come in steps of two gigabytes and more.
_MORE_GB = 2
#: A gain below this is not worth a lever, or memory: rule M15.
_WORTH = 1.03
#: Beyond this there is little left that more trials would find (numbers.md F).
_MANY_TRIALS = 40


def more_memory(recipe: Recipe) -> str:
    """What the next two gigabytes would buy, by what the search has measured."""
    budget, winner = recipe.budget.bytes, recipe.evidence.winner
    beyond = [
        one
        for one in recipe.frontier
        if one.peak_bytes > budget and one.latency_s * _WORTH <= winner.latency_s
    ]
    within = [one for one in beyond if one.peak_bytes <= budget + _MORE_GB * 10**9]
    if within:
        best = min(within, key=lambda one: one.latency_s)
        return f"{_MORE_GB} GB more would buy {_point(best, recipe)}"
    if beyond:
        least = min(beyond, key=lambda one: one.peak_bytes)
        return f"{_MORE_GB} GB more would buy nothing that was tried; {_point(least, recipe)}"
    return "more memory would buy nothing that was tried"


def _point(one: FrontierPoint, recipe: Recipe) -> str:
    changes = differing(one.choices, recipe.choices)
    ratio = recipe.evidence.winner.latency_s / one.latency_s
    return (
        f"{change_phrase(changes)}: {format_duration(one.latency_s)} an image, "
        f"{format_ratio(ratio)} the speed, with a peak of {format_bytes(one.peak_bytes)}"
    )


def to_try(recipe: Recipe, name: str) -> Iterator[str]:
    """What may be done about it, the likeliest first."""
    evidence, effort = recipe.evidence, recipe.evidence.effort.name
    verdict = evidence.comparison.verdict
    if recipe.status == "provisional":
        yield "it was not confirmed: the command that made it goes on where it ended"
    if verdict in (Verdict.CANNOT_SAY, Verdict.IS_BASELINE) and effort != "thorough":
        yield "--effort thorough finds smaller gains: twice the processes, more samples in each"
    if recipe.budget.emulated:
        yield f"its budget was emulated: autotune verify {shlex.quote(name)} on the real device"
    if (unlike := _fastest_unlike(recipe)) is not None:
        yield unlike
    if evidence.trials < _MANY_TRIALS:
        yield f"more --trials look at more candidates: {evidence.trials} were run in all"
    if recipe.model.weights == "random":
        yield "pictures were not judged, since weights are random: tune with the real ones"


def _fastest_unlike(recipe: Recipe) -> str | None:
    """The fastest that was refused for its pictures alone."""
    asked = recipe.evidence.quality.asked
    unlike = [
        one
        for one in recipe.refused
        if one.status is Status.BAD_OUTPUT
        and one.latency_s is not None
        and one.latency_s * _WORTH <= recipe.evidence.winner.latency_s
    ]
    if not unlike or asked in (None, "any"):
        return None
    best = min(unlike, key=lambda one: one.latency_s or 0.0)
    changes = differing(best.choices, recipe.choices)
    return (
        f"--quality any lets pictures change more than {asked} does: {change_phrase(changes)} "
        f"takes {format_duration(best.latency_s or 0.0)}"
    )
