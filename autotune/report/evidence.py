"""What a recipe rests on, in a few lines: for the head of what was made from it."""

from __future__ import annotations

from collections.abc import Iterator

from autotune.recipe.schema import Recipe
from autotune.report.words import interval_phrase
from autotune.stats.compare import Verdict
from autotune.units import format_both, format_bytes, format_duration, format_ratio

_SOFTWARE = (
    "torch",
    "diffusers",
    "transformers",
    "accelerate",
    "torchao",
    "bitsandbytes",
    "python",
)


def evidence_lines(recipe: Recipe) -> Iterator[str]:
    """The evidence, a paragraph each."""
    model, work = recipe.model, recipe.workload
    yield f"{model.id} ({model.pipeline}), set up as {recipe.writer} found it by measuring"
    yield ""
    yield f"status: {', '.join(_status(recipe))}"
    size = f"{work.width}×{work.height}" + (f"×{work.frames} frames" if work.frames else "")
    yield f"workload: {size}, {work.steps} steps, batch {work.batch}, seed {work.seed}"
    yield from _measured(recipe)
    device, software = recipe.fingerprint.device, recipe.fingerprint.software
    known = [f"{name} {device[name]}" for name in ("driver", "cuda") if device.get(name)]
    yield ", ".join([f"device: {device.get('name')} ({device.get('kind')})", *known])
    versions = (f"{name} {software[name]}" for name in _SOFTWARE if name in software)
    yield f"versions: {', '.join(versions)}"
    quality = recipe.evidence.quality
    yield f"quality: health {quality.health}, fidelity {quality.fidelity}: {quality.why}"


def _status(recipe: Recipe) -> Iterator[str]:
    yield recipe.status
    yield f"for {format_both(recipe.budget.bytes)}"
    if recipe.budget.emulated:
        yield "emulated on a larger device"
    if recipe.modified:
        yield "changed by hand: its numbers may belong to other choices"


def _measured(recipe: Recipe) -> Iterator[str]:
    winner, comparison = recipe.evidence.winner, recipe.evidence.comparison
    processes = len(winner.processes_s)
    aim = recipe.aim
    yield (
        f"time: {format_duration(winner.seconds(aim))} {aim.unit}, "
        f"{interval_phrase(winner.times_s(aim))}, {processes} fresh processes"
    )
    yield f"memory: peak {format_bytes(winner.peak_bytes)}" + (
        f", {format_bytes(winner.host_bytes)} of host memory" if winner.host_bytes else ""
    )
    if comparison.verdict is Verdict.IS_BASELINE or comparison.ratio is None:
        yield f"speed-up: {comparison.verdict.value}: {comparison.why}"
        return
    interval = ""
    if comparison.ratio_low is not None and comparison.ratio_high is not None:
        low, high = format_ratio(comparison.ratio_low), format_ratio(comparison.ratio_high)
        interval = f" ({low} to {high})"
    yield (
        f"speed-up: {format_ratio(comparison.ratio)} over the baseline{interval}: "
        f"{comparison.verdict.value}"
    )
