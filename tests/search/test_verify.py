"""A recipe that is measured again holds, or says how it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autotune.recipe.check import check_recipe
from autotune.recipe.claims import untrue
from autotune.recipe.read import read_recipe
from autotune.recipe.schema import Recipe
from autotune.recipe.write import write_recipe
from autotune.records import Outcome, TrialSpec
from autotune.report.verify import lines, to_json
from autotune.search.listener import Silence
from autotune.search.verify import Holding, Verified, rewritten, verification, verify_recipe
from autotune.status import Status
from tests.search.factory import make_choices, make_request
from tests.search.studies import WORLD, study
from tests.search.table_engine import TableEngine, World, failed


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    result, _, _ = study(tmp_path, trials=27)
    assert result.recipe is not None
    return result.recipe


def verify(recipe: Recipe, folder: Path, answer: Any) -> tuple[Verified, TableEngine]:
    usual = make_request(folder)
    request = verification(
        recipe, usual.model, usual.machine, usual.device, usual.fingerprint, folder
    )
    engine = TableEngine(choices=make_choices(), answer=answer)
    check = check_recipe(recipe, usual.machine, usual.device, usual.fingerprint)
    return verify_recipe(recipe, check, request, engine, Silence()), engine


def times(factor: float) -> World:
    return World(effects=WORLD.effects, noise=0.003, latency_s=factor, seed=7)


@pytest.mark.parametrize(
    ("factor", "holding"),
    [(1.0, Holding.HOLDS), (1.03, Holding.HOLDS), (0.8, Holding.FASTER), (1.2, Holding.SLOWER)],
)
def test_a_time_within_five_per_cent_of_the_recorded_processes_holds(
    recipe: Recipe, tmp_path: Path, factor: float, holding: Holding
) -> None:
    verified, engine = verify(recipe, tmp_path, times(factor))
    assert verified.holding is holding
    assert verified.ratio == pytest.approx(factor, rel=0.02)
    assert len(engine.specs) == 4
    for spec in engine.specs:
        assert spec.choices == recipe.choices
        assert spec.budget_bytes == recipe.budget.bytes
        assert spec.effort == recipe.evidence.effort
    said = list(lines(verified, "it"))
    assert said[1] == "match:    exact"
    assert said[-2 if recipe.budget.emulated and holding.good else -1] == (
        f"verdict:  {holding.sentence}"
    )
    answer = to_json(verified)
    assert answer["verdict"] == holding.value
    assert answer["here"]["latency_s"] == verified.winner.latency_s  # type: ignore[union-attr]
    assert answer["failed"] is None


@pytest.mark.parametrize(
    ("status", "holding"),
    [
        (Status.OVER_BUDGET, Holding.TOO_LARGE),
        (Status.OUT_OF_VRAM, Holding.TOO_LARGE),
        (Status.UNSUPPORTED, Holding.FAILS),
        (Status.CRASHED, Holding.FAILS),
    ],
)
def test_what_does_not_run_any_more_says_why(
    recipe: Recipe, tmp_path: Path, status: Status, holding: Holding
) -> None:
    verified, _ = verify(recipe, tmp_path, lambda spec: failed(spec.trial, status, "no more"))
    assert verified.holding is holding
    assert not holding.good
    assert verified.winner is None
    assert "here:     no more" in list(lines(verified, "it"))
    assert to_json(verified)["failed"] == {"status": status.value, "message": "no more"}


def test_a_peak_above_the_budget_is_too_large_although_nothing_stopped_it(
    recipe: Recipe, tmp_path: Path
) -> None:
    def answer(spec: TrialSpec) -> Outcome:
        return World(effects=WORLD.effects, peak_bytes=130_000_000)(spec.but(budget_bytes=None))

    verified, _ = verify(recipe, tmp_path, answer)
    assert verified.holding is Holding.TOO_LARGE


def test_what_was_slow_beside_others_says_nothing(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autotune.search.calm._LOOK_S", 0.0)
    monkeypatch.setattr("autotune.search.calm._busy", lambda before, after: None)

    def answer(spec: TrialSpec) -> Outcome:
        return times(2.0)(spec).but(disturbed="other processes took 50% of the processors' time")

    verified, _ = verify(recipe, tmp_path, answer)
    assert verified.holding is Holding.CANNOT_SAY
    assert any("disturbed by other programs" in line for line in lines(verified, "it"))


def test_the_recipe_can_be_written_with_what_was_measured_here(
    recipe: Recipe, tmp_path: Path
) -> None:
    verified, _ = verify(recipe, tmp_path, times(1.01))
    assert recipe.budget.emulated
    anew = rewritten(verified, emulated=False)
    assert untrue(anew) is None
    write_recipe(anew, tmp_path / "anew.json")
    again = read_recipe(tmp_path / "anew.json")
    assert not again.budget.emulated
    assert again.choices == recipe.choices
    assert again.evidence.winner == verified.winner
    assert again.evidence.baseline is None


def test_what_differs_is_said_with_both_values(recipe: Recipe, tmp_path: Path) -> None:
    print_ = recipe.fingerprint
    other = recipe.but(fingerprint=print_.but(software={**print_.software, "torch": "2.10.0"}))
    verified, _ = verify(other, tmp_path, WORLD)
    assert verified.check.match == "far"
    assert any("torch was 2.10.0, here it is 2.13.0 (far)" in one for one in lines(verified, "it"))
    assert to_json(verified)["differences"][0]["recorded"] == "2.10.0"
