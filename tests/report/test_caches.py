"""A cache in the report stands beside fewer steps in the same time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autotune.records import Outcome, TrialSpec
from autotune.report.caches import caches_json, compare_caches
from autotune.report.json import to_json
from autotune.report.text import advice
from autotune.search.definition import Definition
from autotune.search.history import History, Tried
from tests.search.factory import BASELINE, LEVERS, make_choices, make_request, make_space
from tests.search.studies import study
from tests.search.table_engine import World, measured

CACHES = {**LEVERS, "cache": ("none", "first-block-8", "taylorseer-3")}
PHASES = {"encode": 0.1, "denoise": 0.7, "decode": 0.2}
STEPS = 28


def history(*trials: tuple[dict[str, str], float, dict[str, float]], tmp_path: Path) -> History:
    """A study of these candidates, given as what differs from the baseline."""
    found = History(space=make_space(CACHES), budget_bytes=1_000_000_000)
    request = make_request(tmp_path)
    for number, (changes, seconds, phases) in enumerate(trials):
        candidate = {**found.space.baseline, **changes}
        spec = TrialSpec(
            trial=str(number),
            purpose="screen",
            model=request.model,
            choices=candidate,
            workload=request.model.workload,
            device=request.device,
            effort={"name": "test"},
            budget_bytes=None,
            deadline_s=1.0,
        )
        outcome = measured(spec, (seconds,), 1000).but(phases_s=phases)
        found.add(Tried(number=number, candidate=candidate, why="", outcome=outcome))
    return found


def sentences(found: History) -> list[str]:
    return [one.sentence for one in compare_caches(found, STEPS)]


def test_the_rival_is_the_same_candidate_without_the_cache(tmp_path: Path) -> None:
    found = history(
        ({}, 9.0, PHASES),
        ({"dtype": "fp16"}, 1.0, PHASES),
        ({"dtype": "fp16", "cache": "first-block-8"}, 0.75, PHASES),
        tmp_path=tmp_path,
    )
    # 0.3 s stay, 0.45 of the 0.7 s of 28 steps are left.
    assert sentences(found) == [
        "cache=first-block-8: 1.33×; without it the same time buys 18 of 28 steps"
    ]


def test_a_rival_that_ran_a_few_steps_is_reckoned_with_all_of_them(tmp_path: Path) -> None:
    found = history(
        ({}, 9.0, PHASES),
        ({"dtype": "fp16"}, 1.0, {**PHASES, "denoise": 0.7 / 4}),
        ({"dtype": "fp16", "cache": "first-block-8"}, 0.75, PHASES),
        tmp_path=tmp_path,
    )
    found.tried[1] = replace(found.tried[1], steps=STEPS // 4)
    assert sentences(found) == [
        "cache=first-block-8: 1.33×; without it the same time buys 18 of 28 steps"
    ]


def test_where_that_was_not_measured_the_rival_is_the_baseline_and_it_says_so(
    tmp_path: Path,
) -> None:
    found = history(
        ({}, 1.0, PHASES),
        ({"dtype": "fp16", "cache": "taylorseer-3"}, 0.5, PHASES),
        tmp_path=tmp_path,
    )
    assert sentences(found) == [
        "cache=taylorseer-3: 2.00× the speed of the baseline; with the baseline's steps the same "
        "time buys 8 of 28 steps"
    ]


def test_a_cache_that_is_no_faster_gains_nothing(tmp_path: Path) -> None:
    found = history(
        ({}, 1.0, PHASES), ({"cache": "first-block-8"}, 1.05, PHASES), tmp_path=tmp_path
    )
    assert sentences(found) == [
        "cache=first-block-8: 0.95×; without it the same time buys all 28 steps: it gains nothing"
    ]


@pytest.mark.parametrize("baseline", [[], [({}, 1.0, {})]])
def test_without_a_rival_or_its_phases_it_cannot_be_said(
    baseline: list[Any], tmp_path: Path
) -> None:
    found = history(*baseline, ({"cache": "first-block-8"}, 0.5, PHASES), tmp_path=tmp_path)
    (said,) = sentences(found)
    assert said.startswith("cache=first-block-8: cannot say what it gains")


def test_each_cache_is_told_once_by_its_fastest_candidate(tmp_path: Path) -> None:
    found = history(
        ({}, 1.0, PHASES),
        ({"cache": "first-block-8"}, 0.8, PHASES),
        ({"cache": "first-block-8", "attention": "native-math"}, 0.9, PHASES),
        ({"cache": "taylorseer-3"}, 0.6, PHASES),
        tmp_path=tmp_path,
    )
    told = compare_caches(found, STEPS)
    assert [(one.choices["cache"], one.latency_s) for one in told] == [
        ("taylorseer-3", 0.6),
        ("first-block-8", 0.8),
    ]
    plain = caches_json(found, STEPS)
    assert json.loads(json.dumps(plain)) == plain
    assert [one["rival_steps"] for one in plain] == [12, 20]


def test_a_study_with_a_cache_says_so_on_the_terminal_and_in_json(tmp_path: Path) -> None:
    world = World(effects={"cache=taylorseer-3": (0.5, 1.0)}, noise=0.003)

    def answer(spec: TrialSpec) -> Outcome:
        return world(spec).but(phases_s=PHASES)

    result, _, _ = study(
        tmp_path,
        answer,
        choices=make_choices(CACHES),
        definition=Definition(levers=dict.fromkeys(CACHES, "all")),
        trials=20,
    )
    assert result.recipe is not None
    assert result.recipe.choices["cache"] == "taylorseer-3"
    told = [line.strip() for line in advice(result) if line.strip().startswith("cache=")]
    assert {line.partition(":")[0] for line in told} == {
        "cache=taylorseer-3",
        "cache=first-block-8",
    }
    assert any("the same time buys 1 of 4 steps" in line for line in told)
    assert {one["choices"]["cache"] for one in to_json(result)["caches"]} == {
        "taylorseer-3",
        "first-block-8",
    }


def test_a_study_without_the_lever_says_nothing_of_caches(tmp_path: Path) -> None:
    result, _, _ = study(tmp_path)
    assert set(result.history.space.baseline) == set(BASELINE)
    assert not [line for line in advice(result) if "cache=" in line]
    assert "caches" not in to_json(result)
