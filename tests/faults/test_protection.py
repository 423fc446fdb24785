"""Without its protection, what provokes a row of the matrix does harm: the tests can fail.

One for each of the most important rows. What a trial and its zygote do is taken away in a zygote
of this module's own (``tests/stubs/chaos/unprotected.py``), what the coordinator does in this one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autotune import processes
from autotune.engine import child, device_lock, local
from autotune.engine.local import LocalEngine
from autotune.search import study
from autotune.search.kept import Kept
from autotune.status import Status
from autotune.trial.wire import OUTCOME, read_record
from tests.engine import (
    test_child_environment,
    test_device_lock,
    test_held_against,
    test_trial_faults,
)
from tests.engine.driving import follow, local_engine, run, start_hanging, trial_processes
from tests.search import test_resume
from tests.trial import test_wire
from tests.trial.bench import trial_spec

MARK = "unprotected"
#: What a test that fails raises: an assertion, or that nothing was raised.
FAILED = (AssertionError, pytest.fail.Exception)


@pytest.fixture(scope="module")
def unprotected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEngine]:
    """An engine whose trials and zygote protect nobody."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOTUNE_UNPROTECTED", "1")
        with local_engine(tmp_path_factory.mktemp(MARK), MARK, cold=False) as engine:
            yield engine


def survivors() -> list[str]:
    """What is left of a trial, by name; it is gone afterwards."""
    left = trial_processes(MARK)
    for process in left:
        process.kill()
    return [process.name() for process in left]


# ------------------------------------------------------------------------------ inside a trial


@pytest.mark.trials
@pytest.mark.fault("T9")
def test_without_a_kill_of_the_group_a_child_of_the_trial_survives(
    unprotected: LocalEngine, tmp_path: Path
) -> None:
    start_hanging(unprotected, trial_spec(choices={"chaos": "stubborn-hang"}), tmp_path / "t")
    next(one for one in trial_processes(MARK) if one.name() != "sleep").kill()
    _, outcome = follow(unprotected, "t")
    assert outcome.status is Status.KILLED
    assert survivors() == ["sleep"]


@pytest.mark.trials
@pytest.mark.fault("T22")
def test_without_a_look_for_strays_a_process_of_another_session_survives(
    unprotected: LocalEngine, tmp_path: Path
) -> None:
    _, outcome = run(unprotected, trial_spec(choices={"chaos": "stray"}), tmp_path / "t")
    assert outcome.status is Status.MEASURED
    assert survivors() == ["sleep"]


@pytest.mark.trials
@pytest.mark.parametrize(
    ("fault", "budget_bytes"),
    [
        pytest.param("allocation", 400 << 20, marks=pytest.mark.fault("T2"), id="budget"),
        pytest.param("nan", None, marks=pytest.mark.fault("T15"), id="finite"),
        pytest.param("without-effect", None, marks=pytest.mark.fault("T18"), id="engaged"),
    ],
)
def test_without_its_check_what_must_not_stand_is_measured(
    unprotected: LocalEngine, tmp_path: Path, fault: str, budget_bytes: int | None
) -> None:
    spec = trial_spec(choices={"chaos": fault}, budget_bytes=budget_bytes)
    _, outcome = run(unprotected, spec, tmp_path / "t")
    assert outcome.status is Status.MEASURED


@pytest.mark.trials
@pytest.mark.fault("C12")
def test_without_a_look_at_the_error_a_full_disk_is_called_a_bug(
    unprotected: LocalEngine, tmp_path: Path
) -> None:
    _, outcome = run(unprotected, trial_spec(choices={"chaos": "full-disk"}), tmp_path / "t")
    assert outcome.status is Status.PROTOCOL_ERROR


@pytest.mark.trials
@pytest.mark.fault("T21")
def test_without_a_cap_a_flood_stays_on_the_disk(
    unprotected: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "cut_log", lambda path: None)
    with pytest.raises(FAILED):
        test_trial_faults.test_of_a_flooded_log_both_ends_are_kept(
            unprotected, lambda: tmp_path / "t"
        )


# --------------------------------------------------------------------------- in the coordinator


@pytest.mark.fault("T20")
def test_without_a_look_at_its_id_anothers_outcome_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        test_wire,
        "read_outcome",
        lambda folder, trial: read_record(folder, OUTCOME, test_wire.Outcome),
    )
    with pytest.raises(FAILED):
        test_wire.test_the_outcome_of_another_trial_is_refused(tmp_path)


@pytest.mark.fault("T23")
def test_without_a_list_of_what_is_allowed_secrets_reach_trials(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(child, "_ALLOWED_PREFIXES", ("",))
    monkeypatch.setattr(processes, "without_secrets", dict)
    with pytest.raises(FAILED):
        test_child_environment.test_secrets_are_left_out()


@pytest.mark.fault("G6")
def test_without_the_kernels_lock_two_have_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_lock.fcntl, "flock", lambda *_: None)
    with pytest.raises(FAILED):
        test_device_lock.test_the_second_is_refused_and_told_who_holds_the_device()


@pytest.mark.fault("G7")
def test_without_the_film_a_failure_beside_others_is_the_candidates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(test_held_against, "held_against", lambda take, outcome, budget: outcome)
    case = (Status.OUT_OF_VRAM, Status.INTERFERED, Status.OUT_OF_VRAM)
    with pytest.raises(FAILED):
        test_held_against.test_a_failure_is_excused_by_what_can_have_caused_it(*case)


@pytest.mark.fault("C3")
def test_without_what_is_kept_a_killed_study_runs_trials_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine: Callable[..., Any] = study.read_kept
    runs: list[Counter[str]] = []
    for take in ("undisturbed", "killed"):
        if take == "killed":
            request = test_resume.asked(tmp_path / take)
            with pytest.raises(test_resume.Killed):
                test_resume.go(request, test_resume.kill_at(5))
            test_resume.release(request)
            monkeypatch.setattr(
                study, "read_kept", lambda trials: Kept(highest=genuine(trials).highest)
            )
        request = test_resume.asked(tmp_path / take)
        test_resume.go(request)
        runs.append(test_resume.ran(request.folder))
    assert (runs[1] - runs[0]).total() == 4
