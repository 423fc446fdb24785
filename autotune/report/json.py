"""The object ``suggest --json`` prints (design §6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autotune.report.caches import caches_json

if TYPE_CHECKING:
    from autotune.search.study import Result


def to_json(result: Result) -> dict[str, Any]:
    """Everything a program needs of a study's end, in plain types."""
    recipe, needed = result.recipe, result.needed
    answer: dict[str, Any] = {
        "status": result.status,
        "recipe": str(result.recipe_path) if result.recipe_path else None,
        "report": None,
        "study": str(result.folder),
        "choices": None,
        "latency_s": None,
        "peak_bytes": None,
        "baseline": _baseline(result),
        "verdict": None,
        "quality": None,
        "pictures": str(result.pictures) if result.pictures else None,
        "trials": result.trials,
        "seconds": result.seconds,
    }
    if recipe is not None:
        winner = recipe.evidence.winner
        answer["choices"] = dict(recipe.choices)
        answer["latency_s"] = winner.latency_s
        if recipe.aim.counts_start:
            answer["objective"] = recipe.objective
            answer["objective_s"] = winner.seconds(recipe.aim)
        if recipe.evidence.break_even is not None:
            answer["break_even_images"] = recipe.evidence.break_even.images
        answer["peak_bytes"] = winner.peak_bytes
        answer["verdict"] = recipe.evidence.comparison.verdict.value
        quality = recipe.evidence.quality
        answer["quality"] = quality.model_dump(mode="json", exclude={"health"})
        caches = caches_json(result.history, recipe.workload.steps)
        if caches:
            answer["caches"] = caches
    if result.drifted is not None:
        answer["drifted"] = {"trial": result.drifted.trial, "ratio": result.drifted.ratio}
    never_worked = result.history.failing_choices()
    if never_worked:
        answer["never_worked"] = [dict(choices) for choices in never_worked]
    if needed is not None:
        answer["needed"] = {
            "budget_bytes": needed.budget_bytes,
            "choices": dict(needed.candidate),
            "binds": needed.binds,
            "tried_out": needed.tried_out,
        }
    return answer


def _baseline(result: Result) -> dict[str, Any] | None:
    recipe = result.recipe
    if recipe is not None:
        known = recipe.evidence.baseline
        if recipe.evidence.comparison.verdict == "is the baseline":
            known = recipe.evidence.winner
        if known is not None:
            return {"latency_s": known.latency_s, "peak_bytes": known.peak_bytes}
    tried = result.history.baseline
    if tried is None or tried.latency_s is None:
        return None
    return {"latency_s": tried.latency_s, "peak_bytes": tried.peak_bytes}
