"""Whether what a recipe says of itself can be true (promise R7).

Every number must follow from the raw samples that the recipe carries, computed here again.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator

from autotune.errors import BadInput
from autotune.recipe.schema import Measured, Recipe
from autotune.stats.compare import Verdict, compare
from autotune.units import parse_budget

#: The same arithmetic on the same samples may differ in the last bits between versions.
ROUNDING = 1e-9
#: Beyond any picture or film that a pipeline makes; a bound on what a reader may be asked for.
MOST_PIXELS_A_SIDE, MOST_STEPS, MOST_BATCH, MOST_FRAMES = 65_536, 10_000, 4096, 100_000


def untrue(recipe: Recipe) -> str | None:
    """The first thing in the recipe that cannot be true, as a sentence, or ``None``."""
    return next(_untrue(recipe), None)


def _untrue(recipe: Recipe) -> Iterator[str]:
    yield from _model(recipe)
    yield from _workload(recipe)
    yield from _budget(recipe)
    yield from _measured("evidence.winner", recipe.evidence.winner)
    if recipe.evidence.baseline:
        yield from _measured("evidence.baseline", recipe.evidence.baseline)
    yield from _winner(recipe)
    yield from _comparison(recipe)
    yield from _quality(recipe)
    for number, one in enumerate(recipe.evidence.against):
        found = one.compared
        said = Verdict.CANNOT_SAY if found is None else found.verdict
        if one.verdict not in {said, Verdict.CANNOT_SAY}:
            yield (
                f"evidence.against[{number}].verdict is {one.verdict.value!r}, the samples say "
                f"{said.value!r}"
            )


def _model(recipe: Recipe) -> Iterator[str]:
    model = recipe.model
    if any(not part.strip(". ") for part in model.id.split("/")):
        yield "model.id is not the name of a model"
    commit = len(model.revision) == 40 and not model.revision.strip("0123456789abcdef")
    if model.source == "hub" and not commit:
        yield "model.revision is not a commit of 40 hexadecimal digits"


def _workload(recipe: Recipe) -> Iterator[str]:
    work = recipe.workload
    for field, value, most in (
        ("height", work.height, MOST_PIXELS_A_SIDE),
        ("width", work.width, MOST_PIXELS_A_SIDE),
        ("steps", work.steps, MOST_STEPS),
        ("batch", work.batch, MOST_BATCH),
        ("frames", 1 if work.frames is None else work.frames, MOST_FRAMES),
        ("prompts", len(work.prompts), MOST_BATCH),
    ):
        if not 1 <= value <= most:
            yield f"workload.{field} is {value}, outside 1 to {most}"
    if not 0 <= work.seed < 2**64:
        yield "workload.seed is outside 0 to 2^64"


def _budget(recipe: Recipe) -> Iterator[str]:
    try:
        asked = parse_budget(recipe.budget.asked)
    except BadInput:
        return  # a default, in words
    if asked.kind == "size" and asked.amount != recipe.budget.bytes:
        yield f"budget.bytes is {recipe.budget.bytes}, but budget.asked is {asked.amount} bytes"


def _measured(path: str, measured: Measured) -> Iterator[str]:
    medians = [statistics.median(process) for process in measured.processes_s]
    latency = statistics.median(medians)
    if not _same(measured.latency_s, latency):
        yield f"{path}.latency_s is {measured.latency_s}, but its samples say {latency}"
    for field, starts in (("first_s", measured.firsts_s), ("load_s", measured.loads_s)):
        median = getattr(measured, field)
        if not starts:
            continue  # older recipes have only the median
        if len(starts) != len(measured.processes_s):
            yield f"{path}.{field.replace('_', 's_')} are of {len(starts)} processes"
        if median is None or not _same(median, statistics.median(starts)):
            yield f"{path}.{field} is {median}, the processes say {statistics.median(starts)}"
    for phase, peak in measured.phases_bytes.items():
        if peak > measured.peak_bytes:
            yield f"{path}.phases_bytes.{phase} is {peak}, above peak_bytes"
    # "transformer during denoise", or the phase alone.
    if measured.binds is not None:
        phase = measured.binds.rpartition(" during ")[2]
        if phase not in measured.phases_bytes:
            yield f"{path}.binds names a phase that is not in phases_bytes"


def _winner(recipe: Recipe) -> Iterator[str]:
    winner = recipe.evidence.winner
    # Changing the choices is what a recipe is modified for; it says so itself.
    if winner.choices != recipe.choices and not recipe.modified:
        yield "evidence.winner.choices differ from choices"
    if winner.peak_bytes > recipe.budget.bytes:
        yield f"evidence.winner.peak_bytes is {winner.peak_bytes}, above budget.bytes"
    device_bytes = recipe.fingerprint.device.get("total_bytes")
    if isinstance(device_bytes, int) and winner.peak_bytes > device_bytes:
        yield f"evidence.winner.peak_bytes is {winner.peak_bytes}, more than the device has"
    for lever, evidence in winner.engaged.items():
        if not evidence.engaged:
            yield f"evidence.winner.engaged.{lever} says that it had no effect"


def _comparison(recipe: Recipe) -> Iterator[str]:
    said, winner, baseline = (
        recipe.evidence.comparison,
        recipe.evidence.winner,
        recipe.evidence.baseline,
    )
    path = "evidence.comparison"
    sides = [winner] if baseline is None else [winner, baseline]
    times_s = [one.times_s(recipe.aim) for one in sides]
    if not all(times_s):
        yield f"the objective is {recipe.objective!r}, but such times are not given"
        return
    ratios = ("ratio", "ratio_low", "ratio_high")
    if baseline is None:
        if said.verdict not in {Verdict.CANNOT_SAY, Verdict.IS_BASELINE}:
            yield f"{path}.verdict is {said.verdict.value!r} without a baseline"
        for field in ratios:
            if getattr(said, field) is not None:
                yield f"{path}.{field} is given without a baseline"
        return
    found = compare(*times_s)
    for field, value in zip(ratios, (found.ratio, found.low, found.high), strict=True):
        claimed = getattr(said, field)
        if claimed is not None and not _same(claimed, value):
            yield f"{path}.{field} is {claimed}, but the samples say {value}"
    if said.verdict is Verdict.IS_BASELINE:
        if winner.choices != baseline.choices:
            yield f"{path}.verdict says that the winner is the baseline, which has other choices"
    # Stricter than the samples alone is allowed: other finalists count too (M15).
    elif said.verdict not in {found.verdict, Verdict.CANNOT_SAY}:
        yield f"{path}.verdict is {said.verdict.value!r}, the samples say {found.verdict.value!r}"


def _quality(recipe: Recipe) -> Iterator[str]:
    quality = recipe.evidence.quality
    # Not judged again: what each quality asks for may be another in another version.
    if quality.fidelity == "assessed" and (quality.likeness is None or quality.asked is None):
        yield "evidence.quality.fidelity is 'assessed', but no likeness is given"
    if quality.fidelity == "assessed" and recipe.model.weights == "random":
        yield "evidence.quality.fidelity is 'assessed', but the weights are random"


def _same(claimed: float, computed: float) -> bool:
    return math.isclose(claimed, computed, rel_tol=ROUNDING)
