"""Several budgets in one study: shared trials, a recipe for each, at less than each would cost."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import BadInput
from autotune.recipe.read import read_recipe
from autotune.records import Outcome, TrialSpec, candidate_key
from autotune.search.listener import Silence
from autotune.search.study import Result, run_studies
from autotune.status import Status
from tests.search.factory import BASELINE, LEVERS, make_choices, make_request
from tests.search.studies import study
from tests.search.table_engine import TableEngine, World, failed

#: The faster the larger: 144 MB at the most, 63 at the least.
WORLD = World(
    effects={
        "dtype=fp16": (0.8, 0.9),
        "dtype=fp32": (0.5, 1.2),
        "attention=native-flash": (0.9, 1.2),
        "vae-tiling=half": (1.2, 0.8),
        "vae-tiling=quarter": (1.5, 0.7),
    },
    noise=0.002,
)
BUDGETS = (150_000_000, 110_000_000, 80_000_000)


def answer_each(
    folder: Path, answer: Any = WORLD, budgets: tuple[int, ...] = BUDGETS, **changes: Any
) -> tuple[list[Result], TableEngine]:
    request = make_request(folder, **changes)
    requests = [
        replace(
            request,
            budget_bytes=budget,
            budget_asked=f"{budget // 10**6}MB",
            recipe_path=folder / f"recipe-{budget // 10**6}MB.json",
        )
        for budget in budgets
    ]
    engine = TableEngine(choices=make_choices(), answer=answer)
    return run_studies(requests, engine, Silence()), engine


def test_each_budget_gets_the_recipe_that_a_study_of_its_own_finds(tmp_path: Path) -> None:
    results, engine = answer_each(tmp_path, trials=15)
    alone = 0
    for budget, result in zip(BUDGETS, results, strict=True):
        assert result.status == "ok"
        recipe = read_recipe(tmp_path / f"recipe-{budget // 10**6}MB.json")
        assert recipe.budget.bytes == budget
        assert recipe.evidence.winner.peak_bytes <= budget
        own = tmp_path / str(budget)
        own.mkdir()
        single, other, _ = study(own, WORLD, budget_bytes=budget, trials=27)
        assert single.recipe is not None
        seconds = single.recipe.evidence.winner.latency_s
        assert recipe.evidence.winner.latency_s <= seconds * 1.05
        alone += len(other.specs)
    assert len(engine.tried("baseline")) == 1
    tried = [candidate_key(one) for one in engine.tried("screen")]
    assert len(set(tried)) == len(tried)
    assert len(engine.specs) < 0.6 * alone


def test_trials_run_under_the_budget_that_they_are_for(tmp_path: Path) -> None:
    _, engine = answer_each(tmp_path)
    budgets = [spec.budget_bytes for spec in engine.specs if spec.purpose == "screen"]
    assert budgets == sorted(budgets, reverse=True)  # type: ignore[type-var]
    assert set(budgets) <= set(BUDGETS)


def test_a_winner_that_fits_a_smaller_budget_is_not_confirmed_twice(tmp_path: Path) -> None:
    results, engine = answer_each(tmp_path, budgets=(150_000_000, 149_000_000))
    assert results[0].recipe is not None
    assert results[1].recipe is not None
    assert results[0].recipe.choices == results[1].recipe.choices
    assert len(engine.tried("confirm")) == 8
    assert results[1].status == "ok"


def test_where_a_budget_holds_nothing_what_would_is_measured_once(tmp_path: Path) -> None:
    results, engine = answer_each(tmp_path, budgets=(150_000_000, 60_000_000, 50_000_000))
    assert [one.status for one in results] == ["ok", "none_fits", "none_fits"]
    assert results[1].needed is not None
    assert results[2].needed == results[1].needed
    assert 63_000_000 <= results[1].needed.budget_bytes <= 63_000_000 * 1.17
    sized = [candidate_key(one) for one in engine.tried("size")]
    assert len(sized) <= len(set(sized)) + 1  # the leanest, once more to try its budget out


def test_an_interrupt_leaves_the_best_so_far_for_every_budget(tmp_path: Path) -> None:
    count = 0

    def interrupted(spec: TrialSpec) -> Outcome:
        nonlocal count
        count += 1
        if count == 10:
            raise KeyboardInterrupt
        return WORLD(spec)

    results, _ = answer_each(tmp_path, interrupted)
    for budget, result in zip(BUDGETS, results, strict=True):
        assert result.interrupted
        if result.recipe is not None:
            assert result.recipe.status == "provisional"
            assert result.recipe.evidence.winner.peak_bytes <= budget
    assert results[0].recipe is not None
    assert results[1].recipe is not None


def test_what_was_slow_beside_a_larger_budget_is_tried_for_a_smaller_one(tmp_path: Path) -> None:
    """Four times as slow as the best of the large budget, and all that the small one holds."""

    def answer(spec: TrialSpec) -> Outcome:
        outcome = WORLD(spec)
        if spec.choices["vae-tiling"] == "quarter":
            if spec.give_up_above_s is not None and spec.give_up_above_s < 4:
                return outcome.but(status=Status.TOO_SLOW, samples_s=(), memory=None)
            return outcome.but(samples_s=tuple(4.0 for _ in outcome.samples_s))
        return outcome

    results, _ = answer_each(tmp_path, answer, budgets=(150_000_000, 65_000_000), trials=27)
    assert results[1].recipe is not None
    assert results[1].recipe.choices["vae-tiling"] == "quarter"


@pytest.mark.parametrize("lever", LEVERS)
def test_a_pinned_lever_never_moves_whatever_the_budget(tmp_path: Path, lever: str) -> None:
    pinned = LEVERS[lever][-1]
    budgets = (200_000_000, 60_000_000)
    _, engine = answer_each(tmp_path, budgets=budgets, pins={lever: pinned})
    assert {spec.choices[lever] for spec in engine.specs} == {pinned}
    assert BASELINE[lever] != pinned


def test_budgets_are_asked_for_in_any_order_and_never_twice(tmp_path: Path) -> None:
    from autotune.asked import Asked, make_requests

    asked = Asked(device="cpu", runs=tmp_path / "runs", out=tmp_path / "best.json")
    requests = make_requests("demo", asked, ("100MB", "1GB", "5%"))
    sizes = [one.budget_bytes for one in requests]
    assert sizes == sorted(sizes, reverse=True)
    assert {one.recipe_path.name for one in requests} == {
        "best-100MB.json",
        "best-1GB.json",
        "best-5pct.json",
    }
    with pytest.raises(BadInput, match="1000MB is there twice"):
        make_requests("demo", asked, ("1GB", "1000MB"))


def test_each_budget_has_its_share_of_the_time(tmp_path: Path) -> None:
    def slow(spec: TrialSpec) -> Outcome:
        return WORLD(spec).but(seconds=0.01)

    request = make_request(tmp_path, trials=1000, time_s=3.0)
    requests = [
        replace(
            request,
            budget_bytes=budget,
            budget_asked=f"{budget // 10**6}MB",
            recipe_path=tmp_path / f"{budget}.json",
        )
        for budget in (150_000_000, 80_000_000)
    ]
    engine = TableEngine(choices=make_choices(), answer=slow, takes_s=0.1)
    start = time.monotonic()
    results = run_studies(requests, engine, Silence())
    assert time.monotonic() - start < 5
    # The smaller one has a quarter of it, for trials of its own.
    assert len(results[1].history.own) >= 1
    assert [one.recipe is not None for one in results] == [True, True]


def test_a_retried_baseline_and_a_disproved_finalist_are_taken_over_as_they_ended(
    tmp_path: Path,
) -> None:
    baselines = 0

    def answer(spec: TrialSpec) -> Outcome:
        nonlocal baselines
        if spec.purpose == "baseline":
            baselines += 1
            if baselines == 1:
                return failed(spec.trial, Status.KILLED)
        if spec.purpose == "confirm" and spec.choices["dtype"] == "fp32":
            return failed(spec.trial, Status.OUT_OF_VRAM)
        return WORLD(spec)

    results, engine = answer_each(tmp_path, answer, trials=27)
    assert baselines == 2
    for result in results:
        assert result.recipe is None or result.recipe.choices["dtype"] != "fp32"
    confirmed = [spec.choices for spec in engine.specs if spec.purpose == "confirm"]
    tried = [candidate_key(one) for one in confirmed if one["dtype"] == "fp32"]
    assert len(set(tried)) == len(tried)
