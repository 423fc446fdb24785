"""Whose fault a failure is: the candidate's, chance's, or the environment's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autotune.errors import CannotRun
from autotune.records import Outcome, TrialSpec
from autotune.search.listener import Silence
from autotune.search.study import run_study
from autotune.status import Status
from tests.search.factory import BASELINE, make_choices, make_request
from tests.search.studies import FP16, WORLD, study
from tests.search.table_engine import Answer, TableEngine, failed


def first_times(
    times: int, status: Status, hits: Callable[[TrialSpec], bool]
) -> tuple[Answer, list[str]]:
    """WORLD, but the first trials that are hit fail."""
    hit: list[str] = []

    def answer(spec: TrialSpec) -> Outcome:
        if hits(spec) and len(hit) < times:
            hit.append(spec.trial)
            return failed(spec.trial, status)
        return WORLD(spec)

    return answer, hit


def is_fp16(spec: TrialSpec) -> bool:
    return dict(spec.choices) == FP16 and spec.purpose == "screen"


def is_baseline(spec: TrialSpec) -> bool:
    return spec.purpose == "baseline"


@pytest.mark.fault("T5", "T19", "C12")
@pytest.mark.parametrize("status", [Status.KILLED, Status.DISK_FULL, Status.PROTOCOL_ERROR])
def test_a_failure_of_the_environment_is_tried_again_twice(tmp_path: Path, status: Status) -> None:
    answer, hit = first_times(2, status, is_fp16)
    result, engine, _ = study(tmp_path, answer)
    assert len(hit) == 2
    assert engine.tried("screen").count(FP16) == 3
    assert result.recipe is not None
    assert result.recipe.choices == FP16
    assert not [one for one in result.recipe.refused if one.choices == FP16]


@pytest.mark.fault("C12")
def test_the_third_failure_of_the_environment_ends_the_study(tmp_path: Path) -> None:
    answer, _ = first_times(3, Status.DISK_FULL, is_fp16)
    with pytest.raises(CannotRun, match="no space left on the disk 3 times") as caught:
        study(tmp_path, answer)
    assert str(tmp_path / "trials") in str(caught.value.hint)


@pytest.mark.fault("T6")
def test_a_crash_is_tried_once_more(tmp_path: Path) -> None:
    answer, _ = first_times(1, Status.CRASHED, is_fp16)
    result, engine, _ = study(tmp_path, answer)
    assert engine.tried("screen").count(FP16) == 2
    assert result.recipe is not None
    assert result.recipe.choices == FP16


@pytest.mark.fault("T6", "T8")
@pytest.mark.parametrize("status", [Status.CRASHED, Status.HUNG])
def test_the_second_crash_is_the_candidates_own_fault(tmp_path: Path, status: Status) -> None:
    answer, _ = first_times(99, status, is_fp16)
    result, engine, _ = study(tmp_path, answer)
    assert engine.tried("screen").count(FP16) == 2
    assert result.recipe is not None
    (why,) = [one for one in result.recipe.refused if one.choices == FP16]
    assert why.status is status


def test_a_baseline_that_crashed_once_is_run_again_before_anything_else(tmp_path: Path) -> None:
    answer, _ = first_times(1, Status.CRASHED, is_baseline)
    result, engine, _ = study(tmp_path, answer)
    assert [spec.purpose for spec in engine.specs[:3]] == ["baseline", "baseline", "screen"]
    assert result.recipe is not None
    assert result.recipe.evidence.baseline is not None  # it was compared with
    assert not [one for one in result.recipe.refused if one.choices == BASELINE]


@pytest.mark.parametrize("status", [Status.CRASHED, Status.HUNG])
def test_a_baseline_that_crashes_twice_ends_the_study(tmp_path: Path, status: Status) -> None:
    with pytest.raises(CannotRun, match="the baseline does not run") as caught:
        study(tmp_path, lambda spec: failed(spec.trial, status, "signal 11"))
    assert "signal 11" in caught.value.message
    assert str(tmp_path / "trials" / "0002") in str(caught.value.hint)


@pytest.mark.parametrize("status", [Status.UNSUPPORTED, Status.BAD_OUTPUT, Status.NOT_APPLIED])
def test_a_baseline_that_does_not_work_ends_the_study_at_once(
    tmp_path: Path, status: Status
) -> None:
    engine = TableEngine(
        choices=make_choices(), answer=lambda spec: failed(spec.trial, status, "no such kernel")
    )
    with pytest.raises(CannotRun, match="the baseline does not run.*no such kernel"):  # noqa: RUF043
        run_study(make_request(tmp_path), engine, Silence())
    assert len(engine.specs) == 1


def test_a_baseline_that_failed_early_does_not_shorten_the_others_deadline(tmp_path: Path) -> None:
    answer, _ = first_times(1, Status.OUT_OF_VRAM, is_baseline)
    _, engine, _ = study(tmp_path, answer)
    assert engine.specs[1].deadline_s == engine.specs[0].deadline_s
