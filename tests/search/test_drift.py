"""The baseline is run again every ten trials: whether the machine is what it was (M13)."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.records import Outcome, TrialSpec
from autotune.report.json import to_json
from autotune.report.text import advice
from autotune.search import drift
from tests.search.factory import BASELINE
from tests.search.studies import WORLD, study
from tests.search.table_engine import TableEngine


def again(engine: TableEngine) -> list[str]:
    """The trials that ran the baseline and decided nothing."""
    return [
        spec.trial
        for spec in engine.specs
        if spec.purpose == "size" and spec.choices == BASELINE and spec.budget_bytes is None
    ]


def test_a_machine_that_became_slower_is_told_and_confirmed_numbers_are_true(
    tmp_path: Path,
) -> None:
    def answer(spec: TrialSpec) -> Outcome:
        outcome = WORLD(spec)
        slower = 1.1 if int(spec.trial) > 5 else 1.0
        return outcome.but(samples_s=tuple(one * slower for one in outcome.samples_s))

    result, engine, scribe = study(tmp_path, answer, trials=26)
    assert again(engine) == ["0011"]
    assert result.drifted is not None
    assert result.drifted.trial == 11
    assert result.drifted.ratio == pytest.approx(1.1, rel=0.02)
    (sentence,) = [one for one in scribe.sentences if "the machine has changed" in one]
    assert "at trial 11 the baseline took 1.10 times what it took at first" in sentence
    assert f"        caution: {sentence}" in list(advice(result))
    assert to_json(result)["drifted"]["trial"] == 11
    assert result.recipe is not None
    assert result.recipe.choices["dtype"] == "fp16"


def test_a_machine_that_is_as_it_was_is_looked_at_and_nothing_is_said(tmp_path: Path) -> None:
    result, engine, scribe = study(tmp_path, trials=26)
    assert again(engine) == ["0011"]
    assert result.drifted is None
    assert not [one for one in scribe.sentences if "the machine" in one]
    assert "drifted" not in to_json(result)
    # It is no trial of the search.
    assert len(engine.tried("screen")) + len(engine.tried("baseline")) == 26


def test_a_search_that_takes_long_looks_after_half_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift, "_SECONDS", 0.0)
    _, engine, _ = study(tmp_path, trials=3)
    # Before each of the two trials that follow the first look.
    assert again(engine) == ["0002", "0004"]


def test_a_short_search_leaves_it_to_the_confirmation(tmp_path: Path) -> None:
    _, engine, _ = study(tmp_path, trials=19)
    assert again(engine) == []
