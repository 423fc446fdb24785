"""``autotune explain``: a recipe in words, from the recipe alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

from autotune.quality import summed_up
from autotune.recipe.schema import Recipe
from autotune.report.next_steps import more_memory, to_try
from autotune.report.words import (
    against_phrase,
    bought_phrase,
    break_even_phrase,
    calling_phrase,
    caution_phrases,
    change_phrase,
    console_for,
    differing,
    disturbed_phrase,
    interval_phrase,
    objective_phrase,
    reckoned_phrase,
)
from autotune.stats.compare import Verdict
from autotune.units import format_both, format_bytes, format_duration, format_ratio

_MOST_REFUSED = 8


def print_recipe(recipe: Recipe, name: str, stream: TextIO) -> None:
    """Print what the recipe says."""
    console = console_for(stream)
    for line in explanation(recipe, name):
        console.print(line, soft_wrap=True)


def explanation(recipe: Recipe, name: str) -> Iterator[str]:
    """The recipe in words, a line each."""
    model, work = recipe.model, recipe.workload
    yield f"{name}: {recipe.status}, written by {recipe.writer}"
    pinned = f"{model.id} at {model.revision[:19]}"
    yield f"model:    {pinned}, {model.pipeline}, {model.weights} weights"
    for given in model.given:
        yield f"given:    {given.component} from a {given.kind} file, {given.digest[:19]}"
    size = f"{work.width}×{work.height}" + (f"×{work.frames} frames" if work.frames else "")
    yield f"workload: {size}, {work.steps} steps, batch {work.batch}"
    emulated = ", emulated on a larger device" if recipe.budget.emulated else ""
    yield f"budget:   {format_both(recipe.budget.bytes)}{emulated}"
    device = recipe.fingerprint.device
    yield f"measured: on {device.get('name')} ({device.get('kind')})"
    yield ""
    yield "choices:"
    for lever, choice in recipe.choices.items():
        proof = recipe.evidence.winner.engaged.get(lever)
        yield f"  {lever} = {choice}" + (f"  ({proof.detail})" if proof else "")
    yield ""
    calling = calling_phrase(recipe.choices, work)
    if calling is not None:
        yield f"calls:    {calling}"
    yield from _evidence(recipe)
    yield from _bought(recipe)
    yield from _against(recipe)
    yield from _refused(recipe)
    yield from _frontier(recipe)
    yield ""
    yield f"memory:   {more_memory(recipe)}"
    for advice in to_try(recipe, name):
        yield f"to try:   {advice}"


def _evidence(recipe: Recipe) -> Iterator[str]:
    winner, comparison = recipe.evidence.winner, recipe.evidence.comparison
    samples = sum(len(one) for one in winner.processes_s)
    steps = recipe.evidence.effort.steps
    reckoned = f", {reckoned_phrase(steps, recipe.workload.steps)}" if steps else ""
    yield (
        f"time:     {format_duration(winner.latency_s)} an image, median of "
        f"{samples} generations in {len(winner.processes_s)} processes{reckoned}"
    )
    yield f"          {interval_phrase(winner.processes_s)}"
    if winner.first_s is not None and winner.load_s is not None:
        starts = f"first image {format_duration(winner.first_s)}"
        yield f"start:    loading {format_duration(winner.load_s)}, {starts}"
    if (objective := objective_phrase(recipe)) is not None:
        yield f"objective: {objective}, {interval_phrase(winner.times_s(recipe.aim))}"
    if (break_even := break_even_phrase(recipe)) is not None:
        yield f"          {break_even}"
    if (disturbed := disturbed_phrase(winner)) is not None:
        yield f"          {disturbed}"
    phases = ", ".join(
        f"{phase} {format_bytes(peak)}" for phase, peak in winner.phases_bytes.items()
    )
    yield f"memory:   peak {format_bytes(winner.peak_bytes)} ({phases})"
    if winner.host_bytes is not None:
        yield f"host:     peak {format_bytes(winner.host_bytes)} of its memory"
    if winner.binds:
        yield f"binds:    {winner.binds}"
    if comparison.verdict is Verdict.IS_BASELINE:
        yield f"verdict:  this is the baseline; {comparison.why}"
    elif comparison.ratio is None:
        yield f"verdict:  {comparison.verdict.value}: {comparison.why}"
    else:
        yield (
            f"verdict:  {comparison.verdict.value}, {format_ratio(comparison.ratio)} the speed of "
            f"the baseline; {comparison.why}"
        )
    baseline = recipe.evidence.baseline
    if baseline is not None:
        yield (
            f"baseline: {format_duration(baseline.latency_s)} an image, "
            f"{interval_phrase(baseline.processes_s)}"
        )
    for caution in caution_phrases(recipe):
        yield f"caution:  {caution}"
    quality = recipe.evidence.quality
    yield f"quality:  health {quality.health}, fidelity {quality.fidelity}: {quality.why}"
    if quality.noise is not None:
        yield f"          an exact implementation beside the baseline: {summed_up(quality.noise)}"


def _bought(recipe: Recipe) -> Iterator[str]:
    if not recipe.evidence.bought:
        return
    yield ""
    yield "what each lever bought (put back alone, once, the others left):"
    for one in recipe.evidence.bought:
        yield f"  {bought_phrase(one)}"


def _against(recipe: Recipe) -> Iterator[str]:
    if not recipe.evidence.against:
        return
    yield ""
    yield "beside what is advised (in turns, in fresh processes):"
    for one in recipe.evidence.against:
        yield f"  {against_phrase(one)}"
        yield f"    {change_phrase(one.choices)}; {one.source}"


def _refused(recipe: Recipe) -> Iterator[str]:
    if not recipe.refused:
        return
    yield ""
    yield "refused:"
    for one in recipe.refused[:_MOST_REFUSED]:
        changes = differing(one.choices, recipe.choices)
        time = f"{format_duration(one.latency_s)}, " if one.latency_s else ""
        yield f"  {change_phrase(changes)}: {time}{one.reason}"
    if len(recipe.refused) > _MOST_REFUSED:
        yield f"  and {len(recipe.refused) - _MOST_REFUSED} more"


def _frontier(recipe: Recipe) -> Iterator[str]:
    if len(recipe.frontier) < 2:
        return
    yield ""
    yield "with more or less memory (search measurements, not confirmed):"
    for point in recipe.frontier:
        changes = differing(point.choices, recipe.choices)
        words = change_phrase(changes) if changes else "these choices"
        yield f"  {format_bytes(point.peak_bytes)}: {format_duration(point.latency_s)}, {words}"
