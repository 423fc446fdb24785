"""When nothing fits: the smallest budget that would do, and what binds."""

from __future__ import annotations

from pathlib import Path

from autotune.records import Outcome, TrialSpec
from autotune.search.definition import Definition
from autotune.status import Status
from tests.search.factory import BASELINE, make_choices, make_model
from tests.search.studies import study
from tests.search.table_engine import World, failed

#: Peaks: 100 MB plain, 80 with half tiles, 72 with half tiles in fp16.
LEAN = World(effects={"dtype=fp16": (0.5, 0.9), "vae-tiling=half": (1.2, 0.8)})


def test_when_nothing_fits_the_smallest_budget_is_measured_and_tried_out(tmp_path: Path) -> None:
    result, engine, _ = study(tmp_path, LEAN, budget_bytes=60_000_000)
    assert result.status == "none_fits"
    assert result.recipe is None
    assert not (tmp_path / "recipe.json").exists()
    needed = result.needed
    assert needed is not None
    assert needed.tried_out
    assert needed.candidate == {**BASELINE, "dtype": "fp16", "vae-tiling": "half"}
    # The peak of the leanest, 72 MB, and 5 % on top.
    assert 72_000_000 * 1.15 <= needed.budget_bytes <= 72_000_000 * 1.15 + (1 << 20)
    assert needed.binds == "transformer during denoise"
    last = engine.specs[-1]
    assert last.purpose == "size"
    assert last.budget_bytes == needed.budget_bytes


def test_the_budget_that_is_advised_gives_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    result, _, _ = study(tmp_path / "first", LEAN, budget_bytes=60_000_000)
    assert result.needed is not None
    megabytes = -(-result.needed.budget_bytes // 1_000_000)
    again, _, _ = study(tmp_path / "second", LEAN, budget_bytes=megabytes * 1_000_000)
    assert again.status == "ok"


def test_sizing_measures_what_the_search_did_not_get_to(tmp_path: Path) -> None:
    result, engine, _ = study(tmp_path, LEAN, budget_bytes=60_000_000, trials=1)
    assert result.needed is not None
    assert result.needed.candidate == {**BASELINE, "dtype": "fp16", "vae-tiling": "half"}
    assert [spec.budget_bytes for spec in engine.specs[1:-1]] == [None] * 7


def test_a_budget_that_fails_when_tried_out_is_raised_and_then_only_estimated(
    tmp_path: Path,
) -> None:
    def answer(spec: TrialSpec) -> Outcome:
        if spec.budget_bytes is not None:
            return failed(spec.trial, Status.OVER_BUDGET)
        return LEAN(spec)

    result, engine, _ = study(tmp_path, answer, budget_bytes=60_000_000)
    assert result.needed is not None
    assert not result.needed.tried_out
    budgets = [spec.budget_bytes for spec in engine.specs[-3:]]
    assert budgets == sorted(budgets)  # type: ignore[type-var]
    assert result.needed.budget_bytes > 72_000_000 * 1.15 * 1.1 * 1.1


def test_a_candidate_that_just_missed_never_leads_to_advice_below_what_was_asked(
    tmp_path: Path,
) -> None:
    def answer(spec: TrialSpec) -> Outcome:
        # Over the budget in the search; alone, just below it.
        return World(peak_bytes=99_000_000 if spec.budget_bytes is None else 101_000_000)(spec)

    choices = make_choices({"dtype": ("bf16", "fp16"), "attention": ("native",)})
    definition = Definition(levers={"dtype": "all"})

    def over(spec: TrialSpec) -> Outcome:
        return World(peak_bytes=101_000_000)(spec) if spec.purpose != "size" else answer(spec)

    result, _, _ = study(
        tmp_path, over, budget_bytes=100_000_000, choices=choices, definition=definition
    )
    assert result.needed is not None
    assert result.needed.budget_bytes > 100_000_000


def test_when_nothing_runs_even_without_a_budget_there_is_no_advice(tmp_path: Path) -> None:
    result, _, _ = study(tmp_path, lambda spec: failed(spec.trial, Status.OUT_OF_VRAM))
    assert result.status == "none_fits"
    assert result.needed is None


def test_a_space_of_which_nothing_is_admitted_ends_although_it_cannot_be_listed(
    tmp_path: Path,
) -> None:
    levers = {f"lever{n}": ("a", "b", "c", "d") for n in range(9)} | {"dtype": ("bf16", "fp32")}
    heavy = make_model().components[0].but(weight_bytes=10**9, parameters=5 * 10**8)
    result, engine, scribe = study(
        tmp_path,
        World(peak_bytes=10**9),
        choices=make_choices(levers),
        model=make_model(components=(heavy,)),
        definition=Definition(levers=dict.fromkeys(levers, "all")),
        trials=5,
    )
    assert result.status == "none_fits"
    assert engine.tried("screen") == []
    assert "nothing is left to try that may fit" in scribe.sentences
    assert all("at the least" in reason for _, reason in result.history.refused.values())
