"""A card is filmed by the real camera, through the real pynvml and a compiled stand-in for NVML.

The test plays the trial: it sets what the card shows, and waits until the film shows it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from autotune.engine import filming as module
from autotune.engine.filming import Filming
from autotune.errors import CannotRun
from autotune.records import Device, Memory, Outcome
from autotune.status import Status
from tests.engine.driving import wait_until
from tests.stubs.nvml import COMPILER, GIB, GPU_IS_LOST, NO_COMPILER, StubNvml, card
from tests.trial.bench import trial_spec

UUID = str(card()["0.uuid"])
CARD = Device(kind="cuda", uuid=UUID, name="card", total_bytes=139 * GIB, free_bytes=130 * GIB)
MEASURED = Outcome(
    trial="t",
    status=Status.MEASURED,
    stage="done",
    samples_s=(1.0, 1.0),
    memory=Memory(level_bytes=0, peak_bytes=GIB, phases={"load": GIB}, how="as the trial says"),
)
#: What the card shows while nobody is on it, and while the trial works.
IDLE = {"free": 130 * GIB, "utilisation": 0, "processes": "", "reasons": 0, "sm_clock": 1980}
WORKING = {**IDLE, "free": 120 * GIB, "utilisation": 97, "processes": "41:?"}
#: Long enough for several frames, and for one look at the processes.
SCENE_S = 0.7


class Stage:
    """A card that the test plays, and the study that films it."""

    def __init__(self, nvml: StubNvml, filming: Filming, said: list[str]) -> None:
        self.nvml, self.filming, self.said = nvml, filming, said

    def show(self, **values: object) -> None:
        """Set what the card shows, for as long as a scene lasts."""
        self.nvml.set(**{f"0.{name}": value for name, value in values.items()})
        time.sleep(SCENE_S)
        self.filming.look()

    def trial(
        self,
        *scenes: dict[str, object],
        outcome: Outcome = MEASURED,
        after: dict[str, object] = IDLE,
        budget_bytes: int | None = None,
    ) -> Outcome:
        """A trial that loads, and shows the scenes while it is timed."""
        start_s = self.filming.begin()
        stages = [("load", time.monotonic())]
        self.show(**WORKING)
        stages.append(("warmup", time.monotonic()))
        for scene in scenes or ({},):
            self.show(**{**WORKING, **scene})
        stages.append(("compare", time.monotonic()))
        self.nvml.set(**{f"0.{name}": value for name, value in {**IDLE, **after}.items()})
        spec = trial_spec(budget_bytes=budget_bytes)
        return self.filming.judged(spec, outcome, start_s, stages)


@pytest.fixture
def environment(nvml: StubNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LD_LIBRARY_PATH", "NVIDIA_STUB"):
        monkeypatch.setenv(name, nvml.env()[name])
    monkeypatch.setattr(module, "_SETTLE_S", 2.0)
    monkeypatch.setattr(module, "_PAUSE_S", 2.0)


@pytest.fixture
def stage(nvml: StubNvml, environment: None, tmp_path: Path) -> Iterator[Stage]:
    said: list[str] = []
    filming = Filming(CARD, tmp_path, said.append)
    yield Stage(nvml, filming, said)
    filming.close()
    assert filming._camera.returncode is not None


def failed(status: Status) -> Outcome:
    return Outcome(trial="t", status=status, stage="denoise", message="so it ended")


def test_what_the_film_saw_beyond_the_trials_own_marks_counts(stage: Stage) -> None:
    outcome = stage.trial({"free": 110 * GIB})
    memory, filmed = outcome.memory, outcome.filmed
    assert (outcome.status, outcome.disturbed, stage.said) == (Status.MEASURED, None, [])
    assert memory is not None
    assert memory.peak_bytes == memory.device_bytes == 20 * GIB
    assert memory.phases == {"load": GIB, "first call": 20 * GIB}
    assert memory.how == "as the trial says; the film of the device showed more during first call"
    assert filmed is not None
    assert (filmed.level_bytes, filmed.peak_bytes, filmed.held_bytes) == (8 * GIB, 20 * GIB, 0)
    assert (filmed.sm_clock_mhz, filmed.temperature_c, filmed.reasons) == (1980, 31, {})


def test_a_trial_that_saw_more_itself_keeps_its_peak(stage: Stage) -> None:
    own = Memory(level_bytes=0, peak_bytes=11 * GIB, phases={"load": 11 * GIB}, how="own")
    outcome = stage.trial(outcome=MEASURED.but(memory=own))
    assert outcome.memory == own.but(device_bytes=10 * GIB)


@pytest.mark.fault("T2")
def test_a_peak_above_the_budget_that_only_the_film_saw_is_over_budget(stage: Stage) -> None:
    outcome = stage.trial({"free": 110 * GIB}, budget_bytes=15 * GIB)
    assert outcome.status is Status.OVER_BUDGET
    assert outcome.message == "took 20.00 GiB during first call, 5.00 GiB more than allowed"


def test_what_a_trial_does_after_all_that_is_measured_does_not_count(stage: Stage) -> None:
    start_s = stage.filming.begin()
    stage.show(**WORKING)
    stages = [("warmup", start_s), ("count", time.monotonic())]
    stage.show(**{**WORKING, "free": 100 * GIB, "reasons": 0x40})
    stage.show(**IDLE)
    outcome = stage.filming.judged(trial_spec(), MEASURED, start_s, stages)
    assert outcome.disturbed is None
    assert outcome.memory is not None
    assert outcome.memory.peak_bytes == 10 * GIB


@pytest.mark.fault("G9")
def test_heat_disturbs_a_measurement_and_excuses_one_that_was_too_slow(stage: Stage) -> None:
    hot = {"reasons": 0x40 | 0x4, "temperature": 95}
    outcome = stage.trial(hot)
    assert outcome.status is Status.MEASURED
    assert outcome.disturbed is not None
    assert outcome.disturbed.startswith("the device slowed itself down for ")
    assert outcome.disturbed.endswith(" of the time at 95 °C: hardware thermal slowdown")
    slow = stage.trial(hot, outcome=failed(Status.TOO_SLOW))
    assert slow.status is Status.THROTTLED
    assert "slower than the deadline (so it ended), and the device slowed" in slow.message


@pytest.mark.fault("G9")
def test_a_software_power_cap_is_recorded_and_disturbs_nothing(stage: Stage) -> None:
    outcome = stage.trial({"reasons": 0x4, "sm_clock": 1100})
    assert outcome.disturbed is None
    assert outcome.filmed is not None
    assert set(outcome.filmed.reasons) == {"software power cap"}


@pytest.mark.fault("G9")
def test_a_clock_that_falls_for_no_reason_disturbs(stage: Stage) -> None:
    outcome = stage.trial(*[{"sm_clock": 1100}] * 2)
    assert outcome.disturbed == (
        "the device ran at 1100 MHz under load, of 1980 MHz, for no known reason"
    )


@pytest.mark.fault("G7", "G8")
def test_a_neighbour_that_comes_and_goes_disturbs_and_does_not_count_as_ours(stage: Stage) -> None:
    came = {"processes": "41:? 99:?", "free": 100 * GIB}
    outcome = stage.trial(came)
    assert (outcome.status, outcome.memory) == (Status.MEASURED, MEASURED.memory)
    assert outcome.disturbed == "another process came onto the device"
    excused = stage.trial(came, outcome=failed(Status.OUT_OF_VRAM))
    assert excused.status is Status.INTERFERED
    assert excused.message.endswith("(so it ended), and another process came onto the device")


def test_whoever_has_just_looked_at_the_model_has_not_left_during_the_first_trial(
    stage: Stage,
) -> None:
    stage.show(**WORKING)
    stage.nvml.set(**{f"0.{name}": value for name, value in IDLE.items()})
    assert stage.trial().disturbed is None


@pytest.mark.fault("G7")
def test_a_neighbour_that_stays_disturbs_once_and_excuses_who_then_lacks_memory(
    stage: Stage,
) -> None:
    stays = {"processes": "99:?", "free": 90 * GIB}
    assert stage.trial(after=stays).disturbed == "another process came onto the device"
    beside = {**stays, "processes": "41:? 99:?", "free": 80 * GIB}
    outcome = stage.trial(beside, outcome=failed(Status.OUT_OF_VRAM), after=stays)
    assert outcome.status is Status.INTERFERED
    assert "40.00 GiB more of its memory were in use than when the study began" in outcome.message


@pytest.mark.fault("G11")
def test_a_power_limit_that_somebody_changes_disturbs_once_with_both_values(stage: Stage) -> None:
    outcome = stage.trial(after={"power_mw": 500_000})
    assert outcome.disturbed == "the device's power limit was changed from 700 W to 500 W"
    assert stage.trial().disturbed is None


@pytest.mark.fault("G8")
def test_a_neighbour_that_goes_on_computing_disturbs(stage: Stage) -> None:
    outcome = stage.trial(after={"utilisation": 40})
    assert outcome.disturbed == "other processes keep the device busy for 40% of the time"


@pytest.mark.fault("T22")
def test_memory_that_a_trial_leaves_behind_makes_the_device_suspect(stage: Stage) -> None:
    outcome = stage.trial(after={"free": 125 * GIB})
    assert outcome.disturbed is None
    assert outcome.filmed is not None
    assert outcome.filmed.held_bytes == 5 * GIB
    stage.filming.begin()
    assert stage.said == [
        "the device is suspect: 5.00 GiB of its memory stay in use though the trial has ended; "
        "waiting until they are given back",
        "they are not given back: going on with what is left",
    ]
    del stage.said[:]
    stage.show(**IDLE)
    assert stage.trial().filmed is not None
    stage.filming.begin()
    assert stage.said == []


@pytest.mark.fault("G3")
def test_a_lost_card_ends_the_trial_and_the_study(stage: Stage) -> None:
    start_s = stage.filming.begin()
    for function in ("nvmlDeviceGetMemoryInfo", "nvmlDeviceGetMemoryInfo_v2"):
        stage.nvml.fail(function, GPU_IS_LOST)
    wait_until(stage.filming.look, 20)
    outcome = stage.filming.judged(trial_spec(), failed(Status.CRASHED), start_s, [])
    assert outcome.status is Status.DEVICE_LOST
    assert outcome.message == "the GPU is lost: it no longer answers its driver"
    assert stage.filming.judged(trial_spec(), MEASURED, start_s, []) == MEASURED
    with pytest.raises(CannotRun, match="the GPU is lost") as caught:
        stage.filming.begin()
    assert caught.value.hint is not None


@pytest.mark.fault("G5")
def test_a_driver_that_hangs_stops_the_film_and_not_the_study(stage: Stage) -> None:
    start_s = stage.filming.begin()
    stage.nvml.hang("nvmlDeviceGetUtilizationRates", 300)
    wait_until(lambda: not stage.filming._is_rolling(), 20)
    assert stage.filming.judged(trial_spec(), MEASURED, start_s, []) == MEASURED
    for _ in range(2):
        stage.filming.begin()
    assert stage.said == ["what others do to the device is not seen: the driver does not answer"]


@pytest.mark.fault("G4")
def test_a_card_that_cannot_be_asked_is_not_filmed(
    nvml: StubNvml, environment: None, tmp_path: Path
) -> None:
    nvml.fail("nvmlInitWithFlags", 4)
    said: list[str] = []
    filming = Filming(CARD, tmp_path, said.append)
    try:
        for _ in range(2):
            start_s = filming.begin()
            assert filming.judged(trial_spec(), MEASURED, start_s, []) == MEASURED
    finally:
        filming.close()
    assert said == [
        "what others do to the device is not seen: the NVIDIA driver does not let this user in"
    ]


@pytest.mark.fault("G4")
def test_what_a_card_does_not_tell_is_unknown_and_the_rest_is_filmed(stage: Stage) -> None:
    silent = dict.fromkeys(("reasons", "sm_clock", "utilisation", "temperature"))
    stage.nvml.fail("nvmlDeviceGetComputeRunningProcesses_v3", 4)
    outcome = stage.trial(silent, {**silent, "free": 110 * GIB})
    assert outcome.memory is not None
    assert outcome.memory.peak_bytes == 20 * GIB
    unknown = stage.filming.film.unknown
    assert unknown["event_reasons"] == "not supported by this card or driver"
    assert unknown["processes"] == "no permission to read it"
    assert {"sm_clock_mhz", "utilisation", "temperature_c"} < set(unknown)
    last = stage.filming.film.frames[-1]
    assert (last.used_bytes, last.utilisation, last.event_reasons) == (8 * GIB, None, None)


@pytest.mark.fault("G4")
@pytest.mark.skipif(COMPILER is None, reason=NO_COMPILER)
def test_a_driver_of_before_events_is_asked_for_reasons_to_throttle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = StubNvml.build(tmp_path, omit=["nvmlDeviceGetCurrentClocksEventReasons"])
    old.set(**{"0.reasons": 0x40})
    for name in ("LD_LIBRARY_PATH", "NVIDIA_STUB"):
        monkeypatch.setenv(name, old.env()[name])
    filming = Filming(CARD, tmp_path, print)
    try:
        filming.begin()
        assert filming.film.frames[-1].event_reasons == 0x40
    finally:
        filming.close()


DIES = """
import signal, sys
from pathlib import Path
from autotune.engine.filming import Filming
from autotune.records import Device
device = Device.model_validate_json(sys.argv[1])
filming = Filming(device, Path(sys.argv[2]), print)
filming.begin()
print(filming._camera.pid, flush=True)
signal.pause()
"""


@pytest.mark.fault("C3", "G5")
@pytest.mark.parametrize("hanging", [False, True])
def test_the_camera_does_not_outlive_a_coordinator_that_is_killed(
    nvml: StubNvml, tmp_path: Path, *, hanging: bool
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", DIES, CARD.model_dump_json(), str(tmp_path)],
        env=nvml.env(),
        stdout=subprocess.PIPE,
        text=True,
    ) as coordinator:
        assert coordinator.stdout is not None
        camera = int(coordinator.stdout.readline())
        if hanging:
            nvml.hang("nvmlDeviceGetClockInfo", 300)
            time.sleep(SCENE_S)
        assert _is_alive(camera)
        os.kill(coordinator.pid, signal.SIGKILL)
    wait_until(lambda: not _is_alive(camera), 20)


def _is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
