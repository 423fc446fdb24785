"""The end of ``suggest`` on a terminal: the table of trials, the advice, and how to use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from autotune.report.caches import compare_caches
from autotune.report.words import (
    against_phrase,
    bought_phrase,
    break_even_phrase,
    calling_phrase,
    caution_phrases,
    change_phrase,
    console_for,
    disturbed_phrase,
    objective_phrase,
    outcome_phrase,
    reckoned_phrase,
)
from autotune.stats.compare import Verdict
from autotune.units import format_both, format_bytes, format_duration, format_ratio

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from autotune.recipe.schema import Recipe
    from autotune.search.history import History
    from autotune.search.study import Result


def print_results(results: Sequence[Result], stream: TextIO) -> None:
    """Print the end of a study: of several budgets one after the other, then all together."""
    console = console_for(stream)
    for result in results:
        if len(results) > 1:
            console.print()
            console.print(f"within {format_both(result.history.budget_bytes)}", style="bold")
        print_result(result, stream)
    if len(results) > 1:
        console.print()
        console.print(budgets_table(results))


def print_result(result: Result, stream: TextIO) -> None:
    """Print the table and the advice."""
    console = console_for(stream)
    if result.history.tried:
        console.print(trials_table(result.history))
    for line in advice(result):
        console.print(line, overflow="ignore", no_wrap=True, crop=False)


def budgets_table(results: Sequence[Result]) -> RenderableType:
    """What each budget got, a line each."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("budget", "per image", "peak"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("recipe", overflow="fold")
    table.add_column("candidate", overflow="fold")
    for result in results:
        budget = format_bytes(result.history.budget_bytes)
        if result.recipe is None:
            cut = result.interrupted or result.out_of_time
            table.add_row(budget, "–", "–", "–", "not reached" if cut else "nothing fits")
            continue
        winner = result.recipe.evidence.winner
        table.add_row(
            budget,
            format_duration(winner.latency_s),
            format_bytes(winner.peak_bytes),
            f"{result.recipe_path}{' (provisional)' if result.status == 'provisional' else ''}",
            change_phrase(result.history.space.changes(winner.choices)),
        )
    return table


def trials_table(history: History) -> RenderableType:
    """Every search trial, fastest first; what did not fit comes after what did."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("#", justify="right")
    table.add_column("candidate", overflow="fold")
    first = any(one.objective.kind == "first" for one in history.tried)
    heading = "first image" if first else "per image"
    table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("speed-up", justify="right", no_wrap=True)
    table.add_column("peak", justify="right", no_wrap=True)
    table.add_column("outcome", overflow="fold")
    baseline = history.baseline
    reference = baseline.latency_s if baseline else None
    order = sorted(
        history.tried,
        key=lambda one: (not history.fits(one), one.latency_s is None, one.latency_s or 0.0),
    )
    for one in order:
        latency, peak = one.latency_s, one.peak_bytes
        ratio = reference / latency if reference and latency else None
        table.add_row(
            str(one.number),
            change_phrase(history.space.changes(one.candidate)),
            format_duration(latency) if latency else "–",
            format_ratio(ratio) if ratio else "–",
            format_bytes(peak) if peak else "–",
            outcome_phrase(one, history.budget_bytes),
        )
    return table


def advice(result: Result) -> Iterator[str]:
    """What to do now, a line each."""
    if result.recipe is not None:
        changes = result.history.space.changes(result.recipe.choices)
        # All choices stand in the recipe.
        yield f"advice: {' '.join(f'{lever}={id}' for lever, id in changes.items()) or 'baseline'}"
        yield from _advice_on(result.recipe)
        if result.drifted is not None:
            yield f"        caution: {result.drifted.sentence}"
        for one in compare_caches(result.history, result.recipe.workload.steps):
            yield f"        {one.sentence}"
        for sentence in _never_worked(result.history):
            yield f"        {sentence}"
        yield ""
        yield f"recipe:  {result.recipe_path}"
        if result.pictures is not None:
            yield f"look:    {result.pictures}"
        yield f"in code: pipe = autotune.build({str(result.recipe_path)!r})"
        yield f"details: autotune explain {result.recipe_path}"
    else:
        yield from _nothing_fits(result)
    if result.unfinished:
        yield "go on:   the same command again continues this study"


def _advice_on(recipe: Recipe) -> Iterator[str]:
    winner, comparison = recipe.evidence.winner, recipe.evidence.comparison
    budget = recipe.budget.bytes
    yield (
        f"        {format_duration(winner.latency_s)} an image, "
        f"peak {format_bytes(winner.peak_bytes)}, "
        f"{winner.peak_bytes / budget:.0%} of {format_bytes(budget)}"
    )
    for phrase in (objective_phrase(recipe), break_even_phrase(recipe)):
        if phrase is not None:
            yield f"        {phrase}"
    calling = calling_phrase(recipe.choices, recipe.workload)
    if calling is not None:
        yield f"        {calling}"
    if recipe.status == "provisional":
        steps, of = recipe.evidence.effort.steps, recipe.workload.steps
        reckoned = f" and {reckoned_phrase(steps, of)}" if steps else ""
        yield f"        provisional: measured once{reckoned}, there was no time to confirm it"
    elif comparison.verdict is Verdict.IS_BASELINE:
        yield "        this is the baseline: nothing was proven faster"
    elif comparison.ratio is not None:
        low, high = (
            format_ratio(comparison.ratio_low or 0),
            format_ratio(comparison.ratio_high or 0),
        )
        processes = len(winner.processes_s)
        yield (
            f"        {comparison.verdict.value} than the baseline: "
            f"{format_ratio(comparison.ratio)} ({low} to {high} over {processes} fresh "
            "processes a side, interleaved)"
        )
    for one in recipe.evidence.bought:
        yield f"        {bought_phrase(one)}"
    for other in recipe.evidence.against:
        yield f"        against {against_phrase(other)}"
    if (disturbed := disturbed_phrase(winner)) is not None:
        yield f"        {disturbed}"
    for caution in caution_phrases(recipe):
        yield f"        caution: {caution}"
    quality = recipe.evidence.quality
    assessed = "pictures" if quality.fidelity == "assessed" else "picture fidelity is not assessed"
    yield f"        {assessed}: {quality.why}"
    if recipe.budget.emulated:
        yield "        the budget was emulated: this device has more memory than was allowed"


def _never_worked(history: History) -> Iterator[str]:
    for choices in history.failing_choices():
        named = " with ".join(f"{lever}={id}" for lever, id in choices.items())
        yield f"{named} never worked here"


def _nothing_fits(result: Result) -> Iterator[str]:
    budget = format_bytes(result.history.budget_bytes)
    if result.interrupted:
        yield "interrupted before anything within the budget was measured"
        return
    yield f"nothing fits {budget}: no recipe was written"
    needed = result.needed
    if needed is None and result.out_of_time:
        yield "the time ran out before the smallest budget could be measured"
        yield ""
        yield "hint: give more --time, or a larger --vram"
        return
    if needed is None:
        yield "no candidate could be measured, not even without a budget:"
        for status in sorted({one.outcome.status.sentence for one in result.history.tried}):
            yield f"  {status}"
        for sentence in _never_worked(result.history):
            yield f"  {sentence}"
        yield ""
        yield "hint: autotune levers --model MODEL shows what could still be set; autotune doctor"
        return
    sure = "seen to work" if needed.tried_out else "estimated from the peaks"
    changes = change_phrase(result.history.space.changes(needed.candidate))
    yield f"smallest budget that would do: {format_bytes(needed.budget_bytes)} ({sure}, {changes})"
    if needed.binds:
        yield f"what binds: {needed.binds}"
    yield ""
    megabytes = -(-needed.budget_bytes // 1_000_000)
    yield f"hint: --vram {megabytes}MB"
