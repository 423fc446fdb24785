"""Trials under a film: the engine films a card that the test plays, trials compute beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autotune.engine.filming import FILM
from autotune.engine.local import LocalEngine
from autotune.errors import CannotRun
from autotune.records import Device
from autotune.status import Status
from autotune.trial.wire import PROGRESS, UNJUDGED, read_outcome
from tests.engine.driving import (
    follow,
    local_engine,
    marked,
    run,
    start_hanging,
    trial_processes,
    wait_until,
)
from tests.stubs.nvml import GIB, GPU_IS_LOST, StubNvml, card
from tests.trial.bench import trial_spec

pytestmark = pytest.mark.trials

Folder = Callable[[], Path]
MARK = "filmed"
CARD = Device(
    kind="cuda",
    uuid=str(card()["0.uuid"]),
    name="card",
    total_bytes=139 * GIB,
    free_bytes=130 * GIB,
)


@pytest.fixture
def filmed(
    nvml: StubNvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LocalEngine]:
    for name in ("LD_LIBRARY_PATH", "NVIDIA_STUB"):
        monkeypatch.setenv(name, nvml.env()[name])
    with local_engine(tmp_path, MARK, cold=False, device=CARD) as engine:
        yield engine


@pytest.mark.fault("T2")
def test_a_trial_is_filmed_and_its_outcome_on_the_disk_is_the_one_that_is_told(
    filmed: LocalEngine, nvml: StubNvml, folder: Folder, tmp_path: Path
) -> None:
    place = folder()
    _, outcome = run(filmed, trial_spec(), place)
    assert (outcome.status, outcome.disturbed) == (Status.MEASURED, None)
    assert outcome.filmed is not None
    assert outcome.filmed.frames > 0
    assert outcome.filmed.level_bytes == 8 * GIB
    assert read_outcome(place, "t") == outcome
    assert not (place / UNJUDGED).exists()
    assert (tmp_path / FILM).stat().st_size > 0
    filmed.submit(trial_spec("u", budget_bytes=4 * GIB), place := folder())
    nvml.set(**{"0.free": 120 * GIB, "0.processes": "41:?"})
    progress = place / PROGRESS
    wait_until(lambda: progress.exists() and '"sample"' in progress.read_text(), 40)
    nvml.set(**{"0.free": 130 * GIB, "0.processes": ""})
    _, outcome = follow(filmed, "u")
    assert outcome.status is Status.OVER_BUDGET
    assert outcome.message.startswith("took 10.00 GiB during ")
    assert read_outcome(place, "u") == outcome


@pytest.mark.fault("G3")
def test_a_trial_on_a_card_that_is_lost_is_ended_and_no_other_is_begun(
    filmed: LocalEngine, nvml: StubNvml, folder: Folder
) -> None:
    place = folder()
    start_hanging(filmed, trial_spec(choices={"chaos": "hang"}), place)
    for function in ("nvmlDeviceGetMemoryInfo", "nvmlDeviceGetMemoryInfo_v2"):
        nvml.fail(function, GPU_IS_LOST)
    _, outcome = follow(filmed, "t")
    assert (outcome.status, outcome.stage) == (Status.DEVICE_LOST, "load")
    assert outcome.message == "the GPU is lost: it no longer answers its driver"
    assert read_outcome(place, "t") == outcome
    assert trial_processes(MARK) == []
    with pytest.raises(CannotRun, match="the GPU is lost"):
        filmed.submit(trial_spec("u"), folder())
    filmed.close()
    assert marked(MARK) == []
