"""Which failures a film excuses, and which it does not: made-up films against outcomes."""

from __future__ import annotations

import pytest

from autotune.engine.held_against import Take, held_against
from autotune.probe.film import Film
from autotune.records import Memory, Outcome
from autotune.status import Status

GIB = 1 << 30
MEMORY = Memory(level_bytes=0, peak_bytes=GIB, phases={"load": GIB}, how="told")
STAGES = [("load", 2.0), ("warmup", 3.0), ("denoise", 4.0), ("sample", 5.0), ("keep", 8.0)]


def take(first_bytes: int | None = GIB, **in_the_trial: int) -> Take:
    """Ten seconds of film, of which a trial takes those from 2 to 8."""
    film = Film(default_clock_mhz=1900)
    idle = {"used_bytes": GIB, "utilisation": 0.0, "processes": 0, "event_reasons": 0}
    working = {"used_bytes": 3 * GIB, "utilisation": 0.9, "processes": 1, "sm_clock_mhz": 1900}
    for tenth in range(100):
        works = 20 < tenth <= 80
        film.add({"at_s": tenth / 10, **idle, **({**working, **in_the_trial} if works else {})})
    return Take(
        film=film,
        start_s=2.0,
        end_s=8.0,
        stages=STAGES,
        total_bytes=16 * GIB,
        first_bytes=first_bytes,
    )


def ended(status: Status) -> Outcome:
    return Outcome(trial="t", status=status, stage="denoise", message="why", memory=MEMORY)


OTHERS, HEAT = {"processes": 2}, {"event_reasons": 0x40}


@pytest.mark.fault("G7", "G9")
@pytest.mark.parametrize(
    ("status", "beside_others", "in_heat"),
    [
        (Status.OUT_OF_VRAM, Status.INTERFERED, Status.OUT_OF_VRAM),
        (Status.OVER_BUDGET, Status.INTERFERED, Status.OVER_BUDGET),
        (Status.TOO_SLOW, Status.INTERFERED, Status.THROTTLED),
        (Status.HUNG, Status.INTERFERED, Status.THROTTLED),
        (Status.OUT_OF_RAM, Status.OUT_OF_RAM, Status.OUT_OF_RAM),
        (Status.BAD_OUTPUT, Status.BAD_OUTPUT, Status.BAD_OUTPUT),
        (Status.NOT_APPLIED, Status.NOT_APPLIED, Status.NOT_APPLIED),
        (Status.CRASHED, Status.CRASHED, Status.CRASHED),
        (Status.KILLED, Status.KILLED, Status.KILLED),
    ],
)
def test_a_failure_is_excused_by_what_can_have_caused_it(
    status: Status, beside_others: Status, in_heat: Status
) -> None:
    assert held_against(take(), ended(status), None).status is status
    assert held_against(take(**OTHERS), ended(status), None).status is beside_others
    assert held_against(take(**HEAT), ended(status), None).status is in_heat


@pytest.mark.fault("G7")
def test_who_ran_out_of_memory_on_a_fuller_card_than_the_study_began_with_is_excused() -> None:
    outcome = held_against(take(first_bytes=0), ended(Status.OUT_OF_VRAM), None)
    assert outcome.status is Status.INTERFERED
    assert "1.00 GiB more of its memory were in use than when the study began" in outcome.message
    over = held_against(take(first_bytes=0), ended(Status.OVER_BUDGET), None)
    assert over.status is Status.OVER_BUDGET
    unknown = held_against(take(first_bytes=None), ended(Status.OUT_OF_VRAM), None)
    assert unknown.status is Status.OUT_OF_VRAM


def test_beside_others_the_films_peak_is_not_the_trials() -> None:
    measured = ended(Status.MEASURED)
    raised = held_against(take(), measured, GIB)
    assert (raised.status, raised.disturbed) == (Status.OVER_BUDGET, None)
    assert raised.message == "took 2.00 GiB during load, 1.00 GiB more than allowed"
    beside = held_against(take(**OTHERS), measured, GIB)
    assert (beside.status, beside.memory) == (Status.MEASURED, MEMORY)
    assert beside.disturbed == "another process came onto the device"


def test_what_a_trial_said_of_its_disturbance_stands() -> None:
    measured = ended(Status.MEASURED).but(disturbed="the processors were busy")
    assert held_against(take(**HEAT), measured, None).disturbed == "the processors were busy"


def test_a_failure_keeps_what_the_film_showed() -> None:
    outcome = held_against(take(**HEAT), ended(Status.BAD_OUTPUT), None)
    assert outcome.filmed is not None
    assert outcome.filmed.peak_bytes == 2 * GIB
    assert outcome.filmed.reasons == {"hardware thermal slowdown": pytest.approx(1, abs=0.05)}
