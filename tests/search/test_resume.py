"""An interrupted study is gone on with: no outcome is lost, and no trial is run twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autotune.asked import Asked, make_request
from autotune.errors import CannotRun
from autotune.recipe.read import read_recipe
from autotune.records import Outcome, TrialSpec, candidate_key
from autotune.report.text import advice
from autotune.search.kept import read_kept
from autotune.search.request import Request
from autotune.search.study import Result, run_study
from autotune.search.study_folder import STUDY
from autotune.status import Status
from autotune.trial.wire import OUTCOME, SPEC, UNJUDGED, read_outcome, read_record
from tests.search.factory import make_choices
from tests.search.factory import make_request as made
from tests.search.filing_engine import POINTS, WORLD, FilingEngine, ran
from tests.search.studies import Scribe
from tests.search.table_engine import failed
from tests.sources import ROOT


class Killed(BaseException):
    """As if the process ended here."""


def asked(folder: Path, **changes: Any) -> Request:
    """A request for the demo that a table answers."""
    wanted: dict[str, Any] = {"vram": "120MB", "device": "cpu", "trials": 8, "runs": folder}
    return make_request("demo", Asked(**wanted | changes))


def go(request: Request, answer: Any = WORLD) -> tuple[Result, FilingEngine, Scribe]:
    scribe = Scribe()
    # The levers of the table, not the demo's.
    request = replace(request, definition=made(request.folder).definition)
    engine = FilingEngine(choices=make_choices(), answer=answer)
    return run_study(request, engine, scribe), engine, scribe


def release(request: Request) -> None:
    assert request.opened is not None
    request.opened.release()


def kill_at(number: int) -> Any:
    count = 0

    def answer(spec: TrialSpec) -> Outcome:
        nonlocal count
        count += 1
        if count == number:
            raise Killed
        return WORLD(spec)

    return answer


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Counter[str], dict[str, str]]:
    """Every trial of the study, and what it chose."""
    request = asked(tmp_path_factory.mktemp("undisturbed"))
    result, _, _ = go(request)
    assert result.recipe is not None
    return ran(request.folder), dict(result.recipe.choices)


@pytest.mark.fault("C3")
@pytest.mark.parametrize("number", [1, 2, 5, 9, 12, 17])
def test_a_study_that_was_killed_ends_as_if_it_had_not_been(
    tmp_path: Path, number: int, undisturbed: tuple[Counter[str], dict[str, str]]
) -> None:
    first = asked(tmp_path)
    with pytest.raises(Killed):
        go(first, kill_at(number))
    folder = first.folder
    release(first)  # as the end of its process does
    again = asked(tmp_path)
    assert again.folder == folder
    result, engine, scribe = go(again)
    assert result.recipe is not None
    assert (ran(folder), dict(result.recipe.choices)) == undisturbed
    assert len(engine.specs) == undisturbed[0].total() - (number - 1)
    said = [one for one in scribe.sentences if one.startswith("going on with")]
    assert said == (
        [f"going on with an interrupted study: {number - 1} trials are kept"] if number > 1 else []
    )


@pytest.mark.fault("C1")
def test_an_interrupt_says_how_to_go_on_and_the_end_ends_it(tmp_path: Path) -> None:
    def interrupted(spec: TrialSpec) -> Outcome:
        if spec.trial == "0006":
            raise KeyboardInterrupt
        return WORLD(spec)

    first = asked(tmp_path)
    result, _, _ = go(first, interrupted)
    assert result.interrupted
    assert list(advice(result))[-1] == "go on:   the same command again continues this study"
    assert read_recipe(first.recipe_path).status == "provisional"
    folder = first.folder
    release(first)
    del result
    again = asked(tmp_path)
    assert again.folder == folder
    result, _, _ = go(again)
    assert read_recipe(folder / "recipe.json").status == "confirmed"
    assert not any(line.startswith("go on") for line in advice(result))
    release(again)
    assert asked(tmp_path).answer == read_recipe(folder / "recipe.json"), "it has ended"


@pytest.mark.fault("C11")
@pytest.mark.parametrize(
    "changes",
    [
        {"vram": "110MB"},
        {"seed": 1},
        {"sampler": "random"},
        {"quality": "any"},
        {"fix": {"dtype": "fp32"}},
        {"workload": {"steps": 3}},
        {"book": False},
    ],
)
def test_another_question_is_another_study(tmp_path: Path, changes: dict[str, Any]) -> None:
    first = asked(tmp_path)
    folder = first.folder
    release(first)
    assert asked(tmp_path, **changes).folder != folder
    assert asked(tmp_path).folder == folder


def test_a_study_can_be_begun_anew(tmp_path: Path) -> None:
    first = asked(tmp_path)
    folder = first.folder
    release(first)
    assert asked(tmp_path, restart=True).folder != folder


def test_more_trials_or_time_go_on_with_the_same_study(tmp_path: Path) -> None:
    first = asked(tmp_path)
    folder = first.folder
    release(first)
    assert asked(tmp_path, trials=20, time="1h").folder == folder


@pytest.mark.fault("C4")
def test_the_second_coordinator_of_a_study_is_told_who_runs_it(tmp_path: Path) -> None:
    first = asked(tmp_path)
    with pytest.raises(CannotRun) as caught:
        asked(tmp_path)
    assert f"(process {os.getpid()}, since " in caught.value.message
    assert str(first.folder) in caught.value.message
    assert "--restart" in str(caught.value.hint)
    assert asked(tmp_path, restart=True).folder != first.folder
    folder = first.folder
    release(first)
    assert asked(tmp_path).folder in (folder, tmp_path / f"{folder.name}-2")


def test_what_is_free_is_what_it_was_when_the_study_began(tmp_path: Path) -> None:
    first = asked(tmp_path, vram=None)
    folder, bytes_ = first.folder, first.budget_bytes
    path = folder / STUDY
    path.write_text(path.read_text().replace(str(bytes_), str(bytes_ - 4096)))
    release(first)
    again = asked(tmp_path, vram=None)
    assert again.folder == folder
    assert again.budget_bytes == bytes_ - 4096


@pytest.mark.fault("C11")
def test_a_study_of_another_version_is_left_alone_with_both_values(tmp_path: Path) -> None:
    first = asked(tmp_path)
    path = first.folder / STUDY
    torch = first.fingerprint.software["torch"]
    path.write_text(path.read_text().replace(f'"torch":"{torch}"', '"torch":"1.0"'))
    folder = first.folder
    release(first)
    again = asked(tmp_path)
    assert again.folder != folder
    _, _, scribe = go(again)
    (said,) = [one for one in scribe.sentences if "is not continued" in one]
    assert str(folder) in said
    assert f"torch was 1.0, is {torch}" in said


@pytest.mark.fault("C11")
def test_a_study_of_another_space_is_left_alone_with_both_values(tmp_path: Path) -> None:
    space = tmp_path / "space.toml"
    space.write_text('format = 1\n[levers]\ndtype = ["fp32"]\n')
    first = asked(tmp_path / "runs", space=str(space))
    folder = first.folder
    release(first)
    space.write_text('format = 1\n[levers]\ndtype = ["fp32", "bf16"]\n')
    again = asked(tmp_path / "runs", space=str(space))
    assert again.folder != folder
    assert again.opened is not None
    (said,) = again.opened.left
    assert f"the interrupted study in {folder} is not continued" in said
    assert said.endswith("the search space was another one, dtype was [fp32], is [fp32, bf16]")


@pytest.mark.fault("C11")
@pytest.mark.parametrize("text", ["", "{}", "null", '{"format": 9}', "\x00\xff", "[" * 9999])
def test_garbage_in_place_of_a_study_is_left_alone(tmp_path: Path, text: str) -> None:
    first = asked(tmp_path)
    (first.folder / STUDY).write_text(text)
    folder = first.folder
    release(first)
    assert asked(tmp_path).folder != folder


@pytest.mark.fault("C10")
@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / OUTCOME).write_text("{"),
        lambda folder: (folder / OUTCOME).unlink(),
        lambda folder: (folder / SPEC).write_bytes(b"\xff\x00"),
        lambda folder: (folder / OUTCOME).write_text((folder / OUTCOME).read_text()[:-40]),
        lambda folder: (folder / UNJUDGED).touch(),
    ],
)
def test_a_damaged_outcome_is_a_trial_that_is_run_again(tmp_path: Path, damage: Any) -> None:
    first = asked(tmp_path)
    with pytest.raises(Killed):
        go(first, kill_at(6))
    folder = first.folder / "trials" / "0003"
    key = candidate_key(read_record(folder, SPEC, TrialSpec).choices)
    damage(folder)
    damaged = (folder / OUTCOME).exists() and not (folder / UNJUDGED).exists()
    assert len(read_kept(first.folder / "trials")) == 4
    release(first)
    result, engine, scribe = go(asked(tmp_path))
    assert result.status == "ok"
    left_out = "outcomes that cannot be read are left out: 0003 (1 in all)"
    assert (left_out in scribe.sentences) is damaged
    again = engine.specs[0]
    assert candidate_key(again.choices) == key
    assert again.trial == "0007", "nothing is written over"


@pytest.mark.fault("C3")
def test_what_the_environment_broke_is_not_kept(tmp_path: Path) -> None:
    def answer(spec: TrialSpec) -> Outcome:
        if spec.trial == "0004":
            return failed(spec.trial, Status.KILLED)
        if spec.trial == "0006":
            raise Killed
        return WORLD(spec)

    first = asked(tmp_path)
    with pytest.raises(Killed):
        go(first, answer)
    assert read_outcome(first.folder / "trials" / "0004", "0004").status is Status.KILLED
    assert len(read_kept(first.folder / "trials")) == 4


@pytest.mark.fault("C3")
def test_a_kill_at_every_point_of_a_study_loses_nothing_and_repeats_nothing(
    tmp_path: Path, undisturbed: tuple[Counter[str], dict[str, str]]
) -> None:
    """One study is killed at each of them, and gone on with after each."""
    line = [sys.executable, "-m", "tests.search.filing_engine", str(tmp_path)]
    for point in POINTS:
        ended = subprocess.run([*line, point], cwd=ROOT, capture_output=True, timeout=60)
        assert ended.returncode == -signal.SIGKILL, point
    (folder,) = tmp_path.iterdir()
    recipe = read_recipe(folder / "recipe.json")
    assert (ran(folder), dict(recipe.choices)) == undisturbed


@pytest.mark.fault("C3")
def test_a_storm_of_kills_loses_nothing_and_repeats_nothing(
    tmp_path: Path, undisturbed: tuple[Counter[str], dict[str, str]]
) -> None:
    """Thirty times SIGKILL, at any moment, then the end."""
    lot = random.Random(0)
    line = [sys.executable, "-m", "tests.search.filing_engine", str(tmp_path)]
    kills, ended = 0, 1
    for _ in range(200):
        study = subprocess.Popen(
            line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if kills < 30:
            assert study.stdout is not None
            study.stdout.readline()  # it has begun
            time.sleep(lot.uniform(0, 0.3))
            study.send_signal(signal.SIGKILL)
        said, _ = study.communicate(timeout=60)
        ended = study.returncode
        kills += ended == -signal.SIGKILL
        if ended == 0:
            break
        assert ended == -signal.SIGKILL, said
    assert ended == 0
    assert kills >= 30, "it ended before the storm did: make trials slower"
    (folder,) = tmp_path.iterdir()
    recipe = read_recipe(folder / "recipe.json")
    assert (ran(folder), dict(recipe.choices)) == undisturbed
