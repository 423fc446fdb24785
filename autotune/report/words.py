"""Small phrases that several reports use."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, TextIO

from autotune.units import format_bytes, format_duration, format_ratio

if TYPE_CHECKING:
    from rich.console import Console

    from autotune.recipe.schema import Against, Bought, Measured, Recipe
    from autotune.records import Candidate, Workload
    from autotune.search.history import Tried

#: Piped text is read in editors and issue trackers, not in a terminal of 80 columns.
_PIPED_WIDTH = 110
#: COLUMNS=0 means that nobody knows; printed to that width, a table is empty.
_NARROWEST, _USUAL_WIDTH = 20, 80


def console_for(stream: TextIO) -> Console:
    """A console that writes plain text where the stream is not a terminal."""
    from rich.console import Console as Rich

    class Console(Rich):
        def on_broken_pipe(self) -> None:
            """Rich's own throws away standard output, whichever stream it was."""
            raise BrokenPipeError(errno.EPIPE, "nobody reads it any more")

    width = None if stream.isatty() else _PIPED_WIDTH
    # No markup: what is printed is data, and data may hold square brackets.
    console = Console(
        file=stream, highlight=False, markup=False, width=width, soft_wrap=False, emoji=False
    )
    if console.width < _NARROWEST:
        console.width = _USUAL_WIDTH
    return console


def change_phrase(changes: Mapping[str, str]) -> str:
    """What differs from the baseline, in words."""
    if not changes:
        return "baseline"
    return ", ".join(f"{lever}={choice}" for lever, choice in changes.items())


def differing(choices: Mapping[str, str], others: Mapping[str, str]) -> dict[str, str]:
    """Where choices are not those of another candidate."""
    return {lever: id for lever, id in choices.items() if others.get(lever) != id}


def calling_phrase(choices: Candidate, workload: Workload) -> str | None:
    """How the pipeline must be called for the recipe to hold, if not as the workload says."""
    times = re.fullmatch(r"x(\d{1,3})", choices.get("batch", ""))
    if times is None:
        return None
    many = workload.batch * int(times[1])
    what = "images" if workload.frames is None else "videos"
    return (
        f"batch={times[0]} holds for calls that make {many} {what} at once: "
        f"pipe(..., num_{what}_per_prompt={many}); times are for {workload.batch}"
    )


def outcome_phrase(tried: Tried, budget_bytes: int) -> str:
    """How a trial ended, in a few words."""
    from autotune.search.history import status_against
    from autotune.status import Status

    status = status_against(tried, budget_bytes)
    if status is Status.MEASURED:
        reckoned = f", time {reckoned_phrase(tried.steps)}" if tried.steps else ""
        disturbed = f", {tried.outcome.disturbed}" if tried.outcome.disturbed else ""
        return f"fits{reckoned}{disturbed}"
    # Not broken, but another picture: by how much.
    unlike = status is Status.BAD_OUTPUT and tried.outcome.likeness is not None
    return tried.outcome.message if unlike else status.sentence


def disturbed_phrase(winner: Measured) -> str | None:
    """What others did to the times of a recipe, if anything."""
    processes = len(winner.processes_s)
    if winner.disturbed:
        return (
            f"disturbed by other programs in {winner.disturbed} of {processes} processes: times "
            "may be too long"
        )
    if winner.discarded:
        return f"{winner.discarded} samples were disturbed by other programs and made again"
    return None


def objective_phrase(recipe: Recipe) -> str | None:
    """What was made small, where that is not the time of a steady image."""
    times_s = recipe.evidence.winner.times_s(recipe.aim)
    if not recipe.aim.counts_start:
        return None
    return f"{recipe.aim.sentence}: {format_duration(median(map(median, times_s)))}"


def break_even_phrase(recipe: Recipe) -> str | None:
    """From when on what was compiled has paid, if anything was."""
    found = recipe.evidence.break_even
    if found is None:
        return None
    images = found.images
    pays = "never pays off" if images is None else f"pays off from the {_nth(images)} image on"
    return (
        f"{change_phrase(differing(recipe.choices, found.choices))} {pays}: "
        f"{format_duration(found.first_s)} for the first, "
        f"{format_duration(found.steady_s)} for each after it; without, "
        f"{format_duration(found.beside_first_s)} and {format_duration(found.beside_s)}"
    )


def _nth(number: int) -> str:
    last = number % 10 if number % 100 // 10 != 1 else 0
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(last, 'th') }"


def interval_phrase(processes_s: Sequence[Sequence[float]]) -> str:
    """How sure a time is: its 95 % interval and MAD, over processes (rule M7)."""
    from autotune.stats.summary import summarize, units_of

    found = summarize(units_of(processes_s))
    return (
        f"95% interval {format_duration(found.low)} to {format_duration(found.high)}, "
        f"MAD {format_duration(found.mad)}"
    )


def caution_phrases(recipe: Recipe) -> Iterator[str]:
    """What makes the times of a recipe less sure, and what can be done, a line each."""
    from autotune.stats.stability import cautions

    evidence = recipe.evidence
    ours = cautions(evidence.winner.times_s(recipe.aim))
    yield from (seen.line for seen in ours)
    if evidence.baseline is not None:
        theirs = cautions(evidence.baseline.times_s(recipe.aim))
        yield from (f"baseline: {seen.line}" for seen in theirs if seen not in ours)


def against_phrase(one: Against) -> str:
    """How a recipe compares with a setup that somebody advises, in a line."""
    from autotune.stats.compare import Verdict

    found = one.compared
    if found is None:
        return f"{one.name}: {one.why}"
    interval = f"{format_ratio(found.low)} to {format_ratio(found.high)}"
    verdict = f"{format_ratio(found.ratio)} its speed ({interval})"
    if one.verdict is not Verdict.FASTER:
        verdict = f"{one.verdict.value}: {verdict}"
    return f"{one.name}: {verdict}; it peaks at {format_bytes(one.peak_bytes or 0)}"


def bought_phrase(one: Bought) -> str:
    """What a lever bought, in a line."""
    named = f"{one.lever}={one.choice}"
    if one.ratio is None or one.saved_bytes is None:
        return f"{named}: cannot be put back alone: {one.why or one.status.sentence}"
    memory = "the same memory"
    if one.saved_bytes:
        less = "less" if one.saved_bytes > 0 else "more"
        memory = f"{format_bytes(abs(one.saved_bytes))} {less}"
    return f"{named}: {format_ratio(one.ratio)} the speed, {memory}"


def reckoned_phrase(steps: int, of: int | None = None) -> str:
    """Where a time is from that was not measured whole."""
    return f"reckoned from {steps} steps" if of is None else f"reckoned from {steps} of {of} steps"
