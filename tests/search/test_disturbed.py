"""What others spoilt is measured again, marked where that does not help, and decides nothing."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autotune.recipe.read import read_recipe
from autotune.records import Discarded, Outcome, TrialSpec, candidate_key
from autotune.report.recipe import explanation
from autotune.report.text import advice
from autotune.report.words import outcome_phrase
from autotune.search import calm
from autotune.search.calm import Calm, was_spoilt
from autotune.stats.compare import Verdict
from autotune.status import Status
from tests.search.factory import make_device
from tests.search.studies import FP16, WORLD, study
from tests.search.table_engine import failed
from tests.sources import ROOT

OTHERS = "other processes took 50% of the processors' time"


def slowed(outcome: Outcome) -> Outcome:
    """The same while others compute."""
    samples = tuple(4 * seconds for seconds in outcome.samples_s)
    return outcome.but(samples_s=samples, disturbed=OTHERS)


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others have ended whenever somebody looks."""
    monkeypatch.setattr(calm, "_LOOK_S", 0.0)
    monkeypatch.setattr(calm, "_busy", lambda before, after: None)


@pytest.fixture
def restless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others never end, and nobody waits long for that."""
    monkeypatch.setattr(calm, "_LOOK_S", 0.0)
    monkeypatch.setattr(calm, "_MOST_IN_ALL_S", 0.2)
    monkeypatch.setattr(calm, "_busy", lambda before, after: OTHERS)


@pytest.mark.fault("G8", "G12")
@pytest.mark.usefixtures("still")
def test_a_disturbed_trial_is_repeated_and_costs_no_other_its_turn(tmp_path: Path) -> None:
    def answer(spec: TrialSpec) -> Outcome:
        outcome = WORLD(spec)
        return slowed(outcome) if spec.trial in ("0001", "0003", "0004") else outcome

    result, engine, _ = study(tmp_path, answer, trials=6)
    keys = [candidate_key(spec.choices) for spec in engine.specs[:9]]
    assert keys[0] == keys[1]  # the baseline
    assert keys[2] == keys[3] == keys[4]
    assert len(set(keys)) == 6
    assert result.recipe is not None
    assert result.recipe.choices["dtype"] == "fp16"
    assert result.recipe.evidence.comparison.verdict is Verdict.FASTER
    marked = [
        outcome_phrase(one, 10**12) for one in result.history.tried if was_spoilt(one.outcome)
    ]
    assert marked == [f"fits, {OTHERS}"] * 3


@pytest.mark.fault("G7", "G9")
@pytest.mark.usefixtures("still")
@pytest.mark.parametrize("status", [Status.INTERFERED, Status.THROTTLED])
def test_what_could_not_be_measured_beside_others_is_tried_again(
    tmp_path: Path, status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calm, "_COOL_S", 0.0)
    spoilt: list[str] = []

    def answer(spec: TrialSpec) -> Outcome:
        if spec.choices["dtype"] == "fp16" and len(spoilt) < 2:
            spoilt.append(spec.trial)
            return failed(spec.trial, status)
        return WORLD(spec)

    result, _, scribe = study(tmp_path, answer, trials=27)
    assert len(spoilt) == 2
    assert result.recipe is not None
    assert result.recipe.choices == FP16
    assert ("the device slowed itself down: waiting for it to cool" in scribe.sentences) == (
        status is Status.THROTTLED
    )


@pytest.mark.fault("G12")
@pytest.mark.usefixtures("restless")
def test_where_others_never_end_the_study_does_and_cannot_say(tmp_path: Path) -> None:
    result, engine, scribe = study(tmp_path, lambda spec: slowed(WORLD(spec)), trials=8)
    assert f"{OTHERS}: waiting until that ends" in scribe.sentences
    assert sum("do not leave the device alone" in one for one in scribe.sentences) == 1
    assert len(engine.specs) < 25
    recipe = read_recipe(result.recipe_path or tmp_path)
    # Nothing is recommended that was only seen in a storm.
    assert recipe.evidence.comparison.verdict is Verdict.IS_BASELINE
    beaten = next(one for one in recipe.refused if one.choices == FP16)
    assert "cannot say" in beaten.reason
    assert f"4 of the slower side's 4 processes were disturbed: {OTHERS}" in beaten.reason
    assert recipe.evidence.winner.disturbed == 4
    for lines in (advice(result), explanation(recipe, "it")):
        assert any("disturbed by other programs in 4 of 4 processes" in one for one in lines)


@pytest.mark.usefixtures("restless")
def test_what_never_could_be_measured_beside_others_is_left_and_the_study_goes_on(
    tmp_path: Path,
) -> None:
    def answer(spec: TrialSpec) -> Outcome:
        half = spec.choices["vae-tiling"] == "half"
        return failed(spec.trial, Status.INTERFERED) if half else WORLD(spec)

    result, _, _ = study(tmp_path, answer, trials=27)
    assert result.recipe is not None
    assert result.recipe.choices == FP16
    assert all(one.choices["vae-tiling"] != "half" for one in result.recipe.refused)


@pytest.mark.usefixtures("still")
def test_a_disturbed_finalist_that_is_faster_all_the_same_is_faster(tmp_path: Path) -> None:
    def answer(spec: TrialSpec) -> Outcome:
        outcome = WORLD(spec)
        disturbed = spec.purpose == "confirm" and spec.choices == FP16
        return outcome.but(disturbed=OTHERS) if disturbed else outcome

    result, _, _ = study(tmp_path, answer, trials=27)
    assert result.recipe is not None
    assert result.recipe.evidence.comparison.verdict is Verdict.FASTER
    assert result.recipe.evidence.winner.disturbed == 4


def test_samples_that_were_made_again_are_counted(tmp_path: Path) -> None:
    def answer(spec: TrialSpec) -> Outcome:
        once = (Discarded(seconds=9.0, why=OTHERS),)
        return WORLD(spec).but(discarded=once if spec.purpose == "confirm" else ())

    result, _, _ = study(tmp_path, answer, trials=27)
    assert result.recipe is not None
    winner = result.recipe.evidence.winner
    assert winner.disturbed == 0
    assert winner.discarded >= 1
    said = f"{winner.discarded} samples were disturbed by other programs and made again"
    assert any(said in line for line in explanation(result.recipe, "it"))


#: A study that waits: what computes beside it is no descendant of its process.
WAITING = """
from autotune.search.calm import Calm
from autotune.status import Status
from tests.search.factory import make_device
from tests.search.table_engine import failed

Calm(device=make_device(kind="cpu"), say=print).wait(failed("1", Status.INTERFERED), None)
"""


@pytest.mark.fault("G12")
def test_calm_is_awaited_while_a_process_of_somebody_else_computes() -> None:
    spin = "import time\nend = time.time() + 6\nwhile time.time() < end: pass"
    burner = subprocess.Popen([sys.executable, "-c", spin])
    waiting = subprocess.run(
        [sys.executable, "-c", WAITING],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        cwd=ROOT,
    )
    said = waiting.stdout.splitlines()
    assert burner.wait(1) == 0, "it did not wait for the end"
    assert re.fullmatch(r"other processes take \d+% of the processors' time: .*", said[0])


def test_nobody_waits_beyond_the_end_of_the_study() -> None:
    waiting = Calm(device=make_device(kind="cpu"), say=lambda _: None)
    start = time.monotonic()
    waiting.wait(failed("0001", Status.THROTTLED), start + 0.2)
    assert time.monotonic() - start < 20
    assert not waiting.given_up
