"""Screens of long workloads run a few steps; what is published runs all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.records import Outcome, TrialSpec
from autotune.report.recipe import explanation
from autotune.report.text import advice
from autotune.report.words import outcome_phrase
from autotune.search.definition import Definition
from tests.search.factory import LEVERS, make_choices, make_model
from tests.search.studies import study
from tests.search.table_engine import World

LEVERS_AND_CACHE = {**LEVERS, "cache": ("none", "first-block-8")}
SLOW = World(latency_s=10.0, effects={"dtype=fp16": (0.5, 1.0)})


def few_steps(spec: TrialSpec) -> Outcome:
    """As if two thirds of the time were in the steps that are left out."""
    outcome = SLOW(spec)
    steps = spec.effort.steps
    if steps is None:
        return outcome
    share = steps / spec.workload.steps
    seconds = outcome.samples_s[0]
    return outcome.but(
        samples_s=tuple(one * share for one in outcome.samples_s),
        left_out_s=seconds * (1 - share),
    )


def run(tmp_path: Path, answer=few_steps, *, steps: int = 28, **changes):  # type: ignore[no-untyped-def]
    model = make_model()
    model = model.but(workload=model.workload.but(steps=steps))
    return study(
        tmp_path,
        answer,
        model=model,
        choices=make_choices(LEVERS_AND_CACHE),
        definition=Definition(levers=dict.fromkeys(LEVERS_AND_CACHE, "all")),
        **changes,
    )


def test_screens_run_a_third_of_the_steps_unless_steps_differ(tmp_path: Path) -> None:
    result, engine, _ = run(tmp_path, trials=20)
    steps = {
        (spec.purpose, spec.choices["cache"] != "none", spec.effort.steps) for spec in engine.specs
    }
    assert ("screen", False, 10) in steps
    assert ("screen", True, None) in steps
    # The yardstick and what is published run all steps.
    others = {one for one in steps if one[0] != "screen"}
    assert {one[2] for one in others} == {None}
    assert {one[2] for one in steps if one[0] == "screen" and not one[1]} == {10}
    assert result.recipe is not None
    assert result.recipe.choices["dtype"] == "fp16"
    assert result.recipe.evidence.winner.latency_s == pytest.approx(5.0)
    for tried in result.history.tried:
        assert tried.latency_s == pytest.approx(SLOW.truth(tried.candidate)[0])


@pytest.mark.parametrize(("steps", "seconds"), [(8, 10.0), (28, 1.0)])
def test_where_there_is_little_to_save_all_steps_run(
    tmp_path: Path, steps: int, seconds: float
) -> None:
    world = World(latency_s=seconds)
    _, engine, _ = run(tmp_path, world, steps=steps)
    assert {spec.effort.steps for spec in engine.specs} == {None}


def test_a_provisional_recipe_says_of_how_many_steps_it_is(tmp_path: Path) -> None:
    def interrupted(spec: TrialSpec) -> Outcome:
        if spec.purpose == "confirm":
            raise KeyboardInterrupt
        return few_steps(spec)

    result, _, _ = run(tmp_path, interrupted, trials=20)
    recipe = result.recipe
    assert recipe is not None
    assert recipe.status == "provisional"
    assert recipe.evidence.effort.steps == 10
    assert recipe.evidence.winner.latency_s == pytest.approx(5.0)
    assert any("once and reckoned from 10 of 28 steps, there" in one for one in advice(result))
    assert any("reckoned from 10 of 28 steps" in one for one in explanation(recipe, "it"))
    best = next(one for one in result.history.tried if one.steps)
    assert outcome_phrase(best, 10**12) == "fits, time reckoned from 10 steps"
