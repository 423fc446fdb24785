"""Each lever of the winner is put back once, alone: that is what it bought."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.recipe.read import read_recipe
from autotune.records import Outcome, TrialSpec, candidate_key
from autotune.report.recipe import explanation
from autotune.report.text import advice
from autotune.status import Status
from tests.search.factory import BASELINE
from tests.search.studies import study
from tests.search.table_engine import World, failed

WORLD = World(
    effects={
        "dtype=fp16": (0.5, 0.8),
        "attention=native-flash": (0.9, 1.0),
        "vae-tiling=half": (1.1, 0.5),
    },
)
#: Within its budget only tiles fit.
BEST = {"dtype": "fp16", "attention": "native-flash", "vae-tiling": "half"}


def test_time_and_memory_of_each_lever_stand_in_the_recipe(tmp_path: Path) -> None:
    result, engine, _ = study(tmp_path, WORLD, budget_bytes=60_000_000, trials=27)
    recipe = read_recipe(result.recipe_path or tmp_path)
    assert recipe.choices == {**BASELINE, **BEST}
    bought = {one.lever: one for one in recipe.evidence.bought}
    assert set(bought) == set(BEST)
    assert bought["dtype"].ratio == pytest.approx(2.0)
    assert bought["dtype"].saved_bytes == 10_000_000
    assert bought["attention"].ratio == pytest.approx(1 / 0.9)
    assert bought["vae-tiling"].ratio == pytest.approx(1 / 1.1)
    assert bought["vae-tiling"].saved_bytes == 40_000_000
    for lines in (list(advice(result)), list(explanation(recipe, "it"))):
        said = [line.strip() for line in lines]
        assert "dtype=fp16: 2.00× the speed, 10 MiB less" in said
        assert "attention=native-flash: 1.11× the speed, the same memory" in said
        assert "vae-tiling=half: 0.91× the speed, 38 MiB less" in said
    # What the search has measured is not run again, whatever the budget.
    keys = [candidate_key(spec.choices) for spec in engine.specs if spec.purpose != "confirm"]
    without = [candidate_key({**recipe.choices, lever: BASELINE[lever]}) for lever in BEST]
    assert all(keys.count(key) == 1 for key in without)


def test_a_lever_that_cannot_be_put_back_says_why(tmp_path: Path) -> None:
    def answer(spec: TrialSpec) -> Outcome:
        alone = {lever for lever, id in BEST.items() if spec.choices[lever] == id}
        if alone == {"dtype", "attention"}:
            return failed(spec.trial, Status.OUT_OF_VRAM, "no more memory")
        return WORLD(spec)

    result, _, _ = study(tmp_path, answer, budget_bytes=60_000_000, trials=27)
    assert result.recipe is not None
    (tiles,) = [one for one in result.recipe.evidence.bought if one.lever == "vae-tiling"]
    assert tiles.status is Status.OUT_OF_VRAM
    assert tiles.ratio is None
    assert any(
        "vae-tiling=half: cannot be put back alone: no more memory" in line
        for line in advice(result)
    )


def test_a_baseline_that_wins_has_nothing_to_put_back(tmp_path: Path) -> None:
    result, engine, _ = study(tmp_path, World(noise=0.01), trials=8)
    assert result.recipe is not None
    assert result.recipe.choices == BASELINE
    assert result.recipe.evidence.bought == ()
    assert not [spec for spec in engine.specs if spec.purpose == "size"][1:]


def test_an_interrupt_meanwhile_keeps_the_recipe_and_what_is_known(tmp_path: Path) -> None:
    sized = 0

    def answer(spec: TrialSpec) -> Outcome:
        nonlocal sized
        sized += spec.purpose == "size"
        if sized == 2:
            raise KeyboardInterrupt
        return WORLD(spec)

    result, _, _ = study(tmp_path, answer, budget_bytes=60_000_000, trials=6)
    assert result.interrupted
    assert result.status == "ok"
    assert result.recipe is not None
    assert len(result.recipe.evidence.bought) < len(BEST)
