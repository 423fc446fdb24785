"""The run-off: who is in it, who goes on, and that it does not decide the verdict."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from autotune.records import Outcome, TrialSpec
from autotune.search.request import EFFORTS
from autotune.stats.compare import Verdict
from autotune.status import Status
from tests.search.factory import BASELINE
from tests.search.studies import study
from tests.search.table_engine import World, failed

FP16 = {**BASELINE, "dtype": "fp16"}
FLASH = {**FP16, "attention": "native-flash"}
#: fp16 is twice as fast; with another attention it is two, ten or no per cent faster still.
TWO = World(effects={"dtype=fp16": (0.5, 1.0), "attention=native-flash": (0.98, 1.0)})
TEN = World(effects={"dtype=fp16": (0.5, 1.0), "attention=native-flash": (0.9, 1.0)})


def test_near_equals_run_off_and_the_simplest_that_ties_is_confirmed(tmp_path: Path) -> None:
    result, engine, scribe = study(tmp_path, TWO, trials=20)
    ran = Counter(tuple(sorted(one.items())) for one in engine.tried("run-off"))
    assert {tuple(sorted(FP16.items())), tuple(sorted(FLASH.items()))} <= ran.keys()
    assert len(ran) <= EFFORTS["standard"].finalists
    assert set(ran.values()) == {2}
    assert result.recipe is not None
    assert result.recipe.choices == FP16
    assert "the run-off goes to dtype=fp16" in " ".join(scribe.sentences)


def test_without_a_rival_there_is_none(tmp_path: Path) -> None:
    alone = {"dtype=fp16": (0.5, 1.0), "attention=native-flash": (1.2, 1.0)}
    effects = {**alone, "attention=native-math": (1.2, 1.0)}
    effects |= {"vae-tiling=half": (1.2, 0.8), "vae-tiling=quarter": (1.2, 0.6)}
    result, engine, _ = study(tmp_path, World(effects=effects), trials=20)
    assert engine.tried("run-off") == []
    assert result.recipe is not None
    assert result.recipe.choices == FP16


def test_who_is_as_fast_as_the_baseline_needs_none(tmp_path: Path) -> None:
    result, engine, _ = study(tmp_path, World(noise=0.001), trials=8)
    assert engine.tried("run-off") == []
    assert result.recipe is not None
    assert result.recipe.evidence.comparison.verdict is Verdict.IS_BASELINE


def test_a_quick_study_has_none(tmp_path: Path) -> None:
    _, engine, _ = study(tmp_path, TWO, trials=20, efforts=EFFORTS["quick"])
    assert engine.tried("run-off") == []
    assert engine.tried("confirm")


def test_who_fails_in_it_is_out(tmp_path: Path) -> None:
    def answer(spec: TrialSpec) -> Outcome:
        if spec.purpose == "run-off" and spec.choices == FP16:
            return failed(spec.trial, Status.BAD_OUTPUT, "the picture is flat")
        return TWO(spec)

    result, engine, _ = study(tmp_path, answer, trials=20)
    assert engine.tried("run-off").count(FP16) == 1
    assert result.recipe is not None
    assert result.recipe.choices != FP16
    (why,) = [one for one in result.recipe.refused if one.choices == FP16]
    assert why.status is Status.BAD_OUTPUT


def test_what_the_environment_broke_is_not_held_against_anyone(tmp_path: Path) -> None:
    def answer(spec: TrialSpec) -> Outcome:
        if spec.purpose == "run-off" and spec.choices == FP16:
            return failed(spec.trial, Status.KILLED)
        return TWO(spec)

    result, _, _ = study(tmp_path, answer, trials=20)
    assert result.recipe is not None
    assert not [one for one in result.recipe.refused if one.choices == FP16]


def test_there_is_none_where_only_the_confirmation_has_time(tmp_path: Path) -> None:
    def answer(spec: TrialSpec) -> Outcome:
        return TWO(spec).but(seconds=100.0)  # so that ten of them are never left

    result, engine, _ = study(tmp_path, answer, trials=20, time_s=5.0)
    assert engine.tried("run-off") == []
    assert result.recipe is not None


@pytest.mark.parametrize("lucky", [FLASH, FP16])
def test_luck_in_the_search_does_not_decide(tmp_path: Path, lucky: dict[str, str]) -> None:
    """Of two that are ten per cent apart the lucky one looks better, and is not confirmed."""

    def answer(spec: TrialSpec) -> Outcome:
        outcome = TEN(spec)
        if spec.purpose == "screen" and spec.choices == FP16 and lucky == FP16:
            return outcome.but(samples_s=tuple(one * 0.91 for one in outcome.samples_s))
        return outcome

    result, _, _ = study(tmp_path, answer, trials=20)
    assert result.recipe is not None
    assert result.recipe.choices["attention"] == "native-flash"
