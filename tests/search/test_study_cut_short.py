"""A study that has no time, or is interrupted: the best so far, marked as provisional."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from autotune.recipe.read import read_recipe
from autotune.records import Outcome, TrialSpec
from autotune.search.listener import Silence
from autotune.search.study import run_study
from autotune.status import Status
from tests.search.factory import make_choices, make_request
from tests.search.studies import FP16, WORLD, hasty, study
from tests.search.table_engine import TableEngine, failed


def test_when_the_time_is_up_the_best_so_far_is_provisional(tmp_path: Path) -> None:
    start = time.monotonic()
    result, engine, _ = study(tmp_path, hasty, takes_s=0.1, time_s=0.75, trials=50)
    assert time.monotonic() - start < 1.5
    assert result.status == "provisional"
    assert result.out_of_time
    recipe = read_recipe(tmp_path / "recipe.json")
    assert recipe.status == "provisional"
    assert recipe.choices["dtype"] == "fp16"
    assert recipe.evidence.effort.name == "standard"
    assert len(recipe.evidence.winner.processes_s) == 1
    assert len(engine.specs) < 10
    assert not [one for one in recipe.refused if one.status is Status.CANCELLED]


def test_a_trial_that_the_time_cut_off_is_neither_refused_nor_the_winner(tmp_path: Path) -> None:
    result, engine, _ = study(
        tmp_path, hasty, takes_s=lambda spec: 60 if spec.trial == "0003" else 0, time_s=0.5
    )
    assert engine.cancelled == ["0003"]
    assert result.status == "provisional"
    recipe = read_recipe(tmp_path / "recipe.json")
    cut_off = engine.specs[2].choices
    assert cut_off not in [recipe.choices, *(one.choices for one in recipe.refused)]


def test_when_the_time_is_up_before_anything_fits_nothing_is_advised(tmp_path: Path) -> None:
    result, engine, _ = study(tmp_path, WORLD, takes_s=60, time_s=0.2)
    assert result.status == "none_fits"
    assert result.needed is None
    assert result.out_of_time
    assert engine.cancelled == ["0001"]


def test_time_is_kept_back_for_the_confirmation(tmp_path: Path) -> None:
    # Trials say they take half a second: nine of them confirm, and the next would be the tenth.
    def slow(spec: TrialSpec) -> Outcome:
        return WORLD(spec).but(seconds=0.5)

    _, engine, _ = study(tmp_path, slow, time_s=4.9)
    assert len(engine.tried("screen")) == 0
    assert engine.tried("confirm")


@pytest.mark.fault("C1")
@pytest.mark.parametrize(("purpose", "number"), [("screen", 5), ("confirm", 3)])
def test_an_interrupt_in_the_middle_of_a_trial_writes_the_best_so_far(
    tmp_path: Path, purpose: str, number: int
) -> None:
    started = 0

    def answer(spec: TrialSpec) -> Outcome:
        nonlocal started
        started += spec.purpose == purpose
        if started == number:
            raise KeyboardInterrupt
        return WORLD(spec)

    result, engine, _ = study(tmp_path, answer)
    assert result.interrupted
    assert result.status == "provisional"
    assert engine.cancelled == [engine.specs[-1].trial]
    recipe = read_recipe(tmp_path / "recipe.json")
    assert recipe.status == "provisional"
    assert recipe.choices["dtype"] == "fp16"


def test_an_interrupt_before_anything_was_measured_writes_nothing(tmp_path: Path) -> None:
    def answer(spec: TrialSpec) -> Outcome:
        raise KeyboardInterrupt

    result, engine, _ = study(tmp_path, answer)
    assert result.interrupted
    assert result.status == "none_fits"
    assert result.needed is None
    assert engine.cancelled == ["0001"]
    assert list(tmp_path.iterdir()) == []


def test_what_failed_its_confirmation_is_not_published_as_provisional(tmp_path: Path) -> None:
    def answer(spec: TrialSpec) -> Outcome:
        if spec.purpose == "confirm" and dict(spec.choices) == FP16:
            return failed(spec.trial, Status.OUT_OF_VRAM)
        if spec.purpose == "confirm" and spec.choices["dtype"] == "fp16":
            raise KeyboardInterrupt
        return WORLD(spec)

    result, _, _ = study(tmp_path, answer)
    assert result.status == "provisional"
    assert result.recipe is not None
    assert result.recipe.choices != FP16


def test_after_an_interrupt_while_sizing_there_is_no_advice(tmp_path: Path) -> None:
    def answer(spec: TrialSpec) -> Outcome:
        if spec.purpose == "size":
            raise KeyboardInterrupt
        return WORLD(spec)

    result, _, _ = study(tmp_path, answer, budget_bytes=60_000_000)
    assert result.history.tried
    assert result.interrupted
    assert result.needed is None


@pytest.mark.fault("C1")
def test_an_interrupt_is_not_kept_waiting_by_a_trial_whose_end_was_lost(tmp_path: Path) -> None:
    def answer(spec: TrialSpec) -> Outcome:
        if len(engine.specs) == 2:
            raise KeyboardInterrupt
        return WORLD(spec)

    class Forgetful(TableEngine):
        def cancel(self, trial: str) -> bool:
            return False  # it has ended, and the interrupt came while that was read

    engine = Forgetful(choices=make_choices(), answer=answer)
    start = time.monotonic()
    result = run_study(make_request(tmp_path), engine, Silence())
    assert time.monotonic() - start < 5
    assert result.status == "provisional"
