"""A study from first to last against a table: what is published, and what ends it."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import BadInput, NoResult
from autotune.recipe.read import read_recipe
from autotune.recipe.schema import Recipe
from autotune.records import Outcome, TrialSpec
from autotune.search.listener import Silence
from autotune.search.request import STANDARD
from autotune.search.study import Result, run_study
from autotune.stats.compare import Verdict, compare
from autotune.status import Status
from tests.search import studies
from tests.search.factory import BASELINE, make_choices, make_device, make_model, make_request
from tests.search.table_engine import Answer, TableEngine, World, failed

#: fp16 halves the time, tiles cost time and save memory, fp32 does not fit 120 MB.
EFFECTS = {
    "dtype=fp16": (0.5, 1.0),
    "dtype=fp32": (0.4, 1.8),
    "attention=native-math": (1.3, 1.1),
    "vae-tiling=half": (1.2, 0.8),
    "vae-tiling=quarter": (1.5, 0.7),
}


def study(
    folder: Path, answer: Answer | None = None, **changes: Any
) -> tuple[Result, TableEngine]:
    result, engine, _ = studies.study(
        folder, answer or World(effects=EFFECTS, noise=0.01), **changes
    )
    return result, engine


def published(result: Result) -> Recipe:
    """The recipe of a study, read back; every number in it must follow from its samples."""
    assert result.recipe_path is not None
    recipe = read_recipe(result.recipe_path)
    assert recipe == result.recipe
    for side in filter(None, (recipe.evidence.winner, recipe.evidence.baseline)):
        medians = [statistics.median(process) for process in side.processes_s]
        assert side.latency_s == statistics.median(medians)
    assert recipe.evidence.winner.choices == recipe.choices
    assert recipe.evidence.winner.peak_bytes <= recipe.budget.bytes
    if recipe.evidence.baseline is not None:
        found = compare(recipe.evidence.winner.processes_s, recipe.evidence.baseline.processes_s)
        assert recipe.evidence.comparison.ratio == found.ratio
        assert recipe.evidence.comparison.verdict is found.verdict
    return recipe


def test_a_study_publishes_the_fastest_that_fits_with_its_evidence(tmp_path: Path) -> None:
    result, engine = study(tmp_path)
    recipe = published(result)
    assert result.status == "ok"
    assert recipe.status == "confirmed"
    assert recipe.choices == {**BASELINE, "dtype": "fp16"}
    assert recipe.evidence.comparison.verdict is Verdict.FASTER
    assert recipe.evidence.comparison.ratio == pytest.approx(2.0, rel=0.05)
    assert len(recipe.evidence.winner.processes_s) == STANDARD.pairs
    assert recipe.evidence.winner.binds == "transformer during denoise"
    assert result.trials == recipe.evidence.trials == len(engine.specs)


def test_the_faster_one_that_does_not_fit_is_refused_with_what_it_needs(tmp_path: Path) -> None:
    recipe = published(study(tmp_path, trials=27)[0])
    (refused,) = [one for one in recipe.refused if one.choices == {**BASELINE, "dtype": "fp32"}]
    assert refused.status is Status.OVER_BUDGET
    assert refused.reason == "needs 172 MiB (transformer during denoise)"  # 180 MB
    assert refused.latency_s == pytest.approx(0.4, rel=0.05)
    times = [one.latency_s or 1e9 for one in recipe.refused]
    assert times == sorted(times)


def test_the_search_keeps_to_its_number_of_trials(tmp_path: Path) -> None:
    _, engine = study(tmp_path, trials=9)
    searched = engine.tried("baseline") + engine.tried("screen")
    assert len(searched) == 9
    assert searched[0] == BASELINE
    assert engine.specs[0].budget_bytes is None
    assert all(spec.budget_bytes for spec in engine.specs if spec.purpose == "screen")


def test_the_search_stops_when_the_space_is_used_up(tmp_path: Path) -> None:
    result, engine = study(tmp_path, choices=make_choices({"dtype": ("bf16", "fp16"), **ONE}))
    assert len(engine.tried("baseline") + engine.tried("screen")) == 2
    assert published(result).choices["dtype"] == "fp16"


ONE = {"attention": ("native",), "vae-tiling": ("off",)}


def test_a_space_with_one_candidate_needs_no_search_and_is_confirmed(tmp_path: Path) -> None:
    choices = make_choices({"dtype": ("bf16",), **ONE})
    result, engine = study(tmp_path, choices=choices)
    recipe = published(result)
    assert recipe.choices == BASELINE
    assert recipe.evidence.comparison.verdict is Verdict.IS_BASELINE
    assert [spec.purpose for spec in engine.specs] == [
        "baseline",
        *["confirm"] * STANDARD.pairs,
        "size",
    ]


def test_a_pinned_lever_is_never_changed(tmp_path: Path) -> None:
    result, engine = study(tmp_path, pins={"dtype": "bf16"})
    assert {spec.choices["dtype"] for spec in engine.specs} == {"bf16"}
    assert published(result).choices["dtype"] == "bf16"


def test_where_nothing_is_proven_faster_the_baseline_is_published(tmp_path: Path) -> None:
    # 4 % faster in the search, and lost in the noise of fresh processes.
    world = World(effects={"dtype=fp16": (0.96, 1.0)})
    noisy = World(effects={}, noise=0.2, seed=4)
    result, _ = study(tmp_path, lambda spec: (noisy if is_confirm(spec) else world)(spec))
    recipe = published(result)
    assert recipe.status == "confirmed"
    assert recipe.choices == BASELINE
    assert recipe.evidence.comparison.verdict is Verdict.IS_BASELINE
    assert recipe.refused[0].choices == {**BASELINE, "dtype": "fp16"}
    assert recipe.refused[0].reason.startswith("not proven faster than the baseline (cannot say)")


def is_confirm(spec: TrialSpec) -> bool:
    return spec.purpose == "confirm"


def test_a_baseline_over_the_budget_is_the_yardstick_and_is_not_published(tmp_path: Path) -> None:
    world = World(effects={"dtype=fp16": (1.2, 0.5)}, peak_bytes=200_000_000, noise=0.01)
    recipe = published(study(tmp_path, world)[0])
    assert recipe.choices["dtype"] == "fp16"
    assert recipe.evidence.comparison.verdict is Verdict.SLOWER
    assert recipe.evidence.baseline is not None
    assert recipe.evidence.baseline.peak_bytes == 200_000_000
    assert any(one.choices == BASELINE for one in recipe.refused)


def test_a_baseline_that_runs_out_of_memory_leaves_nothing_to_compare_with(tmp_path: Path) -> None:
    world = World(effects={"dtype=fp16": (0.5, 0.5)})

    def answer(spec: TrialSpec) -> Outcome:
        if spec.choices["dtype"] == "bf16":
            return failed(spec.trial, Status.OUT_OF_VRAM)
        return world(spec)

    recipe = published(study(tmp_path, answer)[0])
    assert recipe.choices["dtype"] == "fp16"
    assert recipe.evidence.comparison.verdict is Verdict.CANNOT_SAY
    assert recipe.evidence.baseline is None


def test_a_finalist_that_fails_in_a_fresh_process_is_replaced_and_refused(tmp_path: Path) -> None:
    world = World(effects=EFFECTS, noise=0.01)

    def answer(spec: TrialSpec) -> Outcome:
        if is_confirm(spec) and spec.choices["dtype"] == "fp16" and len(changes(spec)) == 1:
            return failed(spec.trial, Status.OUT_OF_VRAM, "asked for 3 MiB more")
        return world(spec)

    recipe = published(study(tmp_path, answer)[0])
    assert recipe.choices["dtype"] == "fp16"
    assert len(changes_of(recipe)) == 2
    broken = {**BASELINE, "dtype": "fp16"}
    (why,) = [one for one in recipe.refused if one.choices == broken]
    assert why.status is Status.OUT_OF_VRAM
    assert why.reason == "in a fresh process, asked for 3 MiB more"
    assert broken not in [point.choices for point in recipe.frontier]


def changes(spec: TrialSpec) -> dict[str, str]:
    return {lever: id for lever, id in spec.choices.items() if BASELINE[lever] != id}


def changes_of(recipe: Recipe) -> dict[str, str]:
    return {lever: id for lever, id in recipe.choices.items() if BASELINE[lever] != id}


def test_when_no_finalist_holds_the_study_says_so_and_writes_nothing(tmp_path: Path) -> None:
    world = World(effects=EFFECTS)

    def answer(spec: TrialSpec) -> Outcome:
        return failed(spec.trial, Status.BAD_OUTPUT) if is_confirm(spec) else world(spec)

    with pytest.raises(NoResult, match=r"no candidate held in fresh processes.*3"):
        study(tmp_path, answer)
    assert not (tmp_path / "recipe.json").exists()


def test_pins_that_break_a_rule_are_refused_before_any_trial(tmp_path: Path) -> None:
    engine = TableEngine(choices=make_choices(), answer=World())
    request = make_request(
        tmp_path, pins={"dtype": "fp16"}, model=make_model(family="flux"), device=make_device()
    )
    with pytest.raises(BadInput, match=r"dtype=fp16 cannot be set here: Flux\.1 overflows"):
        run_study(request, engine, Silence())
    assert engine.specs == []


def test_a_space_that_the_rules_empty_is_refused_before_any_trial(tmp_path: Path) -> None:
    choices = make_choices({"dtype": ("fp16",), **ONE})
    engine = TableEngine(choices=choices, answer=World())
    with pytest.raises(BadInput, match=r"the rules exclude every candidate.*flux-fp16"):
        run_study(make_request(tmp_path, model=make_model(family="flux")), engine, Silence())
    assert engine.specs == []


def test_a_candidate_that_a_rule_excludes_is_refused_without_a_trial(tmp_path: Path) -> None:
    result, engine = study(tmp_path, model=make_model(family="flux"), trials=27)
    assert "fp16" not in {spec.choices["dtype"] for spec in engine.specs}
    reasons = {one.reason for one in published(result).refused if one.choices["dtype"] == "fp16"}
    assert len(reasons) == 1
    assert "overflows in fp16" in reasons.pop()
