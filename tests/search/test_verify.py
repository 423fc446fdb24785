"""A recipe that is measured again holds, or says how it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from autotune.recipe.check import check_recipe
from autotune.recipe.claims import untrue
from autotune.recipe.read import read_recipe
from autotune.recipe.schema import Recipe
from autotune.recipe.write import write_recipe
from autotune.records import Outcome, TrialSpec
from autotune.report.ci import junit, markdown
from autotune.report.verify import lines, to_json
from autotune.search.listener import Silence
from autotune.search.verify import (
    WITHIN,
    Holding,
    Verified,
    rewritten,
    verification,
    verify_recipe,
)
from autotune.status import Status
from tests.search.factory import make_choices, make_request
from tests.search.studies import WORLD, study
from tests.search.table_engine import TableEngine, World, failed


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    result, _, _ = study(tmp_path, trials=27)
    assert result.recipe is not None
    return result.recipe


def verify(
    recipe: Recipe, folder: Path, answer: Any, within: float = WITHIN
) -> tuple[Verified, TableEngine]:
    usual = make_request(folder)
    request = verification(
        recipe, usual.model, usual.machine, usual.device, usual.fingerprint, folder
    )
    engine = TableEngine(choices=make_choices(), answer=answer)
    check = check_recipe(recipe, usual.machine, usual.device, usual.fingerprint)
    return verify_recipe(recipe, check, request, engine, Silence(), within), engine


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


@pytest.mark.parametrize(("within", "holding"), [(0.3, Holding.HOLDS), (0.1, Holding.SLOWER)])
def test_how_much_slower_it_may_be_can_be_said(
    recipe: Recipe, tmp_path: Path, within: float, holding: Holding
) -> None:
    verified, _ = verify(recipe, tmp_path, times(1.2), within)
    assert verified.holding is holding


NASTY = 'a <b> & "c" \x00\x1b|`d`.json'


def test_a_ci_service_is_told_what_a_person_is(recipe: Recipe, tmp_path: Path) -> None:
    verified, _ = verify(recipe, tmp_path, times(1.0))
    suite = ElementTree.fromstring(junit(verified, NASTY))
    assert (suite.get("tests"), suite.get("failures")) == ("1", "0")
    (case,) = suite
    assert case.get("name") == NASTY.replace("\x00", "\ufffd").replace("\x1b", "\ufffd")
    assert float(case.get("time", "")) == pytest.approx(verified.seconds, abs=1e-3)
    said = case.findtext("system-out") or ""
    assert "verdict:  it holds" in said
    assert case.find("failure") is None
    summary = markdown(verified, NASTY)
    assert summary.startswith("### ✅ a \\<b\\>")
    assert "| recorded | " in summary


def test_a_regression_is_a_failed_test_with_the_numbers(recipe: Recipe, tmp_path: Path) -> None:
    verified, _ = verify(recipe, tmp_path, times(1.5))
    suite = ElementTree.fromstring(junit(verified, "recipe.json"))
    assert suite.get("failures") == "1"
    failure = suite[0].find("failure")
    assert failure is not None
    assert failure.get("message") == "it is slower than recorded"
    assert "recorded: " in (failure.text or "")
    assert markdown(verified, "recipe.json").startswith(
        "### ❌ recipe.json: it is slower than recorded, 1.5"
    )


def test_one_that_does_not_run_says_why_to_a_ci_service(recipe: Recipe, tmp_path: Path) -> None:
    verified, _ = verify(
        recipe, tmp_path, lambda spec: failed(spec.trial, Status.BAD_OUTPUT, "flat | *black*")
    )
    assert "flat | *black*" in junit(verified, "r.json")
    summary = markdown(verified, "r.json")
    assert "flat \\| \\*black\\*" in summary
    assert "| here | – | – |" in summary
