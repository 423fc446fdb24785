"""What the commands on a book print: recipes found and listed, added, pruned and skipped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autotune.report.words import change_phrase, differing
from autotune.stats.compare import Verdict
from autotune.units import format_bytes, format_duration

if TYPE_CHECKING:
    from autotune.fleet.book import Entry
    from autotune.fleet.find import Answer, Found
    from autotune.fleet.prune import Pruning
    from autotune.recipe.schema import Recipe

#: More names of broken files are counted.
_MOST_NAMED = 5
#: More differences of a machine are counted.
_MOST_DIFFERENCES = 6


def found_lines(answer: Answer) -> Iterator[str]:
    """Each recipe that was found, with what has to be known of it."""
    for number, found in enumerate(answer.found, 1):
        recipe = found.recipe
        yield f"{number:>3}  {found.match}, {found.status}: {_measured_phrase(recipe)}"
        yield f"     {choices_phrase(recipe)}"
        yield f"     of {_where_phrase(recipe)}, {recipe.model.id} at {recipe.model.revision[:19]}"
        if found.workload:
            yield f"     another workload: {'; '.join(found.workload)}"
        for one in found.differences[:_MOST_DIFFERENCES]:
            yield f"     {one.field} was {one.recorded}, here it is {one.here} ({one.severity})"
        if len(found.differences) > _MOST_DIFFERENCES:
            yield f"     and {len(found.differences) - _MOST_DIFFERENCES} more differences"
        yield from (f"     {note}" for note in found.notes)
        yield f"     {found.entry.address}"
    if answer.matching > len(answer.found):
        yield f"     {answer.matching - len(answer.found)} more: --limit N shows them"


def listed_lines(entries: Sequence[Entry]) -> Iterator[str]:
    """A line for each recipe, by model and machine."""
    for entry in sorted(entries, key=_by_model):
        recipe = entry.recipe
        emulated = ", emulated" if recipe.budget.emulated else ""
        yield (
            f"{entry.name[:12]}  {recipe.model.id}, {_where_phrase(recipe)}: "
            f"{_measured_phrase(recipe)}, {recipe.status}{emulated}"
        )


def pruned_lines(pruning: Pruning, *, dry_run: bool) -> Iterator[str]:
    """What went, or would go, and what stays."""
    verb = "would remove" if dry_run else "removed"
    for one in pruning.gone:
        recipe = one.entry.recipe
        yield (
            f"{verb} {one.entry.name[:12]}  {recipe.model.id}, {_where_phrase(recipe)}: "
            f"{_measured_phrase(recipe)}"
        )
        yield f"  {one.why}: {one.better.name[:12]} has {_measured_phrase(one.better.recipe)}"
    for name in pruning.leftovers:
        yield f"{verb} {name}: a writer that was killed left it"
    yield f"{len(pruning.gone)} of {len(pruning.gone) + pruning.kept} recipes {_gone(dry_run)}"


def skipped_lines(skipped: Mapping[str, str]) -> Iterator[str]:
    """Which files of the book were not read, and why."""
    if not skipped:
        return
    files = "1 file" if len(skipped) == 1 else f"{len(skipped)} files"
    yield f"skipped {files} of the book:"
    for name in sorted(skipped)[:_MOST_NAMED]:
        yield f"  {ascii(name)[1:-1]}: {skipped[name]}"
    if len(skipped) > _MOST_NAMED:
        yield f"  and {len(skipped) - _MOST_NAMED} more"


def found_json(answer: Answer, skipped: Mapping[str, str]) -> dict[str, Any]:
    """The object ``book find --json`` prints."""
    return {
        "found": [_one_found(found) for found in answer.found],
        "matching": answer.matching,
        "left_out": dict(answer.left_out),
        "leanest_bytes": answer.leanest_bytes,
        "skipped": dict(skipped),
    }


def listed_json(entries: Sequence[Entry], skipped: Mapping[str, str]) -> dict[str, Any]:
    """The object ``book list --json`` prints."""
    return {
        "recipes": [_one_entry(entry) for entry in sorted(entries, key=_by_model)],
        "skipped": dict(skipped),
    }


def pruned_json(pruning: Pruning, skipped: Mapping[str, str], *, dry_run: bool) -> dict[str, Any]:
    """The object ``book prune --json`` prints."""
    return {
        "dry_run": dry_run,
        "removed": [
            {**_one_entry(one.entry), "why": one.why, "better": one.better.address}
            for one in pruning.gone
        ],
        "kept": pruning.kept,
        "leftovers": list(pruning.leftovers),
        "skipped": dict(skipped),
    }


def choices_phrase(recipe: Recipe) -> str:
    """What a recipe changes of its baseline; of a baseline that is not known, all it says."""
    baseline = recipe.evidence.baseline
    if baseline is not None:
        return change_phrase(differing(recipe.choices, baseline.choices))
    if recipe.evidence.comparison.verdict is Verdict.IS_BASELINE:
        return change_phrase({})
    return change_phrase(recipe.choices)


def _one_found(found: Found) -> dict[str, Any]:
    return {
        **_one_entry(found.entry),
        "match": found.match,
        "status": found.status,
        "differences": [one.model_dump(mode="json") for one in found.differences],
        "workload_differs": list(found.workload),
        "notes": list(found.notes),
        "choices": dict(found.recipe.choices),
    }


def _one_entry(entry: Entry) -> dict[str, Any]:
    recipe = entry.recipe
    device = recipe.fingerprint.device
    return {
        "recipe": entry.address,
        "model": recipe.model.id,
        "revision": recipe.model.revision,
        "weights": recipe.model.weights,
        "device": device.get("name"),
        "workload": recipe.workload.model_dump(mode="json"),
        "objective": recipe.objective,
        "latency_s": recipe.evidence.winner.seconds(recipe.aim),
        "peak_bytes": recipe.evidence.winner.peak_bytes,
        "budget_bytes": recipe.budget.bytes,
        "provisional": recipe.status == "provisional",
        "emulated": recipe.budget.emulated,
    }


def _measured_phrase(recipe: Recipe) -> str:
    winner = recipe.evidence.winner
    seconds = format_duration(winner.seconds(recipe.aim))
    return f"{seconds} {recipe.aim.unit}, peak {format_bytes(winner.peak_bytes)}"


def _where_phrase(recipe: Recipe) -> str:
    work = recipe.workload
    size = f"{work.width}×{work.height}" + (f"×{work.frames}" if work.frames else "")
    return f"{recipe.fingerprint.device.get('name')}, {size}, {work.steps} steps"


def _by_model(entry: Entry) -> tuple[str, str, float, str]:
    recipe = entry.recipe
    name = str(recipe.fingerprint.device.get("name"))
    return recipe.model.id.casefold(), name, recipe.evidence.winner.latency_s, entry.name


def _gone(dry_run: bool) -> str:
    return "would go" if dry_run else "are gone"
