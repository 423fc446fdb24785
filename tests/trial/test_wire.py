"""Whatever lies in a trial's folder, the readers say a ValueError and nothing worse."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from autotune.records import Evidence, Health, Inspection, Memory, Outcome, TrialSpec
from autotune.status import Status
from autotune.trial.wire import (
    INSPECTION,
    OUTCOME,
    SPEC,
    Progress,
    read_outcome,
    read_record,
    write_record,
)

FULL = Outcome(
    trial="0007",
    status=Status.MEASURED,
    stage="done",
    load_s=0.1 + 0.2,
    first_s=1e-9,
    samples_s=(1.0, 1.1000000000000001),
    memory=Memory(level_bytes=1, peak_bytes=2**60, phases={"load": 3}, how="by hand"),
    health=Health(finite=True, deviation=0.25, differs_by_seed=True, picture="picture.png"),
    engaged={"dtype": Evidence(engaged=True, detail="\u00e4 \u2192 \U0001f600")},
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
)
VALID = json.loads(FULL.model_dump_json())


def test_an_outcome_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    write_record(tmp_path, OUTCOME, FULL)
    assert read_outcome(tmp_path, "0007") == FULL
    write_record(tmp_path, OUTCOME, FULL.but(message="again"))
    assert read_outcome(tmp_path, "0007").message == "again"
    assert os.listdir(tmp_path) == [OUTCOME]


@pytest.mark.fault("T20")
def test_the_outcome_of_another_trial_is_refused(tmp_path: Path) -> None:
    write_record(tmp_path, OUTCOME, FULL)
    with pytest.raises(ValueError, match="belongs to trial 0007, not 0008"):
        read_outcome(tmp_path, "0008")


@pytest.mark.fault("T20")
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200))
@example(b"")
@example(b"\xff\xfe{}")
@example(b"\x80\x04.")
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
@example(b'{"trial": "\\ud800"}')
@example(b"1" * 10_000)
@example(b"NaN")
def test_arbitrary_bytes_are_a_value_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / OUTCOME).write_bytes(data)
    with pytest.raises(ValueError, match=OUTCOME):
        read_outcome(tmp_path, "0007")


@pytest.mark.fault("T20")
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from([*sorted(VALID), "unknown"]), value=JSON)
def test_one_wrong_value_is_a_value_error_or_a_valid_outcome(
    tmp_path: Path, key: str, value: object
) -> None:
    text = json.dumps(VALID | {key: value})
    (tmp_path / OUTCOME).write_text(text)
    try:
        found = read_outcome(tmp_path, "0007")
    except ValueError:
        return
    assert key != "unknown"
    assert json.loads(found.model_dump_json())[key] == value


@pytest.mark.fault("T20")
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(length=st.integers(0, len(FULL.model_dump_json().encode()) - 1))
def test_a_truncated_outcome_is_a_value_error(tmp_path: Path, length: int) -> None:
    (tmp_path / OUTCOME).write_bytes(FULL.model_dump_json().encode()[:length])
    with pytest.raises(ValueError, match=OUTCOME):
        read_outcome(tmp_path, "0007")


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"status": "splendid"},
        {"samples_s": ["1.0"]},
        {"load_s": float("nan")},
        {"seconds": float("inf")},
        {"seconds": True},
        {"trial": 7},
        {"extra": 1},
    ],
    ids=str,
)
def test_an_outcome_that_is_nearly_right_is_refused(
    tmp_path: Path, change: dict[str, object]
) -> None:
    (tmp_path / OUTCOME).write_text(json.dumps(VALID | change))
    (field, value), *_ = change.items()
    # What is no JSON is refused before it is asked which field it is in.
    numberless = isinstance(value, float) and not math.isfinite(value)
    problem = "outcome.json is refused at" if numberless else f"{OUTCOME}: {field}"
    with pytest.raises(ValueError, match=problem):
        read_outcome(tmp_path, "0007")


@pytest.mark.fault("T20")
def test_a_huge_file_is_refused_without_reading_it(tmp_path: Path) -> None:
    with (tmp_path / OUTCOME).open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="larger than"):
        read_outcome(tmp_path, "0007")


@pytest.mark.fault("T20")
def test_what_is_no_regular_file_is_refused_and_does_not_block(tmp_path: Path) -> None:
    for name, make in [("folder", Path.mkdir), ("pipe", os.mkfifo)]:
        folder = tmp_path / name
        folder.mkdir()
        make(folder / OUTCOME)
        with pytest.raises(ValueError, match=OUTCOME):
            read_outcome(folder, "0007")
    with pytest.raises(ValueError, match=OUTCOME):
        read_outcome(tmp_path / "no such folder", "0007")


def test_one_record_is_not_another(tmp_path: Path) -> None:
    write_record(tmp_path, SPEC, FULL)
    write_record(tmp_path, INSPECTION, FULL)
    with pytest.raises(ValueError, match=SPEC):
        read_record(tmp_path, SPEC, TrialSpec)
    with pytest.raises(ValueError, match=INSPECTION):
        read_record(tmp_path, INSPECTION, Inspection)


def test_progress_is_a_line_a_step_with_a_time_that_does_not_go_back(tmp_path: Path) -> None:
    progress = Progress(tmp_path)
    assert progress.stage == "start"
    progress.say("load")
    progress.say("sample", n=1, of=3)
    assert progress.stage == "sample"
    lines = [json.loads(line) for line in (tmp_path / "progress.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in lines] == ["load", "sample"]
    assert (lines[1]["n"], lines[1]["of"]) == (1, 3)
    assert lines[0]["at"] <= lines[1]["at"]
