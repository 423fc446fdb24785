"""What a study makes of its trials: what fits, the finalist, the frontier, what binds."""

from __future__ import annotations

import pytest

from autotune.records import Memory, Outcome
from autotune.search.history import History, Tried, binding, status_against
from autotune.status import Status
from tests.search.factory import BASELINE, make_space

BUDGET = 100


def outcome(
    seconds: float | None,
    peak: int,
    status: Status = Status.MEASURED,
    phases: dict[str, int] | None = None,
    weights: dict[str, int] | None = None,
) -> Outcome:
    return Outcome(
        trial="0001",
        status=status,
        stage="done",
        samples_s=() if seconds is None else (seconds, seconds * 1.1, seconds),
        memory=Memory(level_bytes=0, peak_bytes=peak, phases=phases or {"load": peak}, how="told"),
        weights=weights or {},
    )


def history(*trials: tuple[dict[str, str], Outcome]) -> History:
    found = History(space=make_space(), budget_bytes=BUDGET)
    for number, (changes, ended) in enumerate(trials, 1):
        candidate = {**BASELINE, **changes}
        found.add(Tried(number=number, candidate=candidate, why="told", outcome=ended))
    return found


FP16, FP32, MATH, HALF = (
    {"dtype": "fp16"},
    {"dtype": "fp32"},
    {"attention": "native-math"},
    {"vae-tiling": "half"},
)


def test_only_what_was_measured_within_the_budget_fits() -> None:
    seen = history(
        ({}, outcome(1.0, BUDGET)),
        (FP16, outcome(1.0, BUDGET + 1)),
        (FP32, outcome(1.0, 50, Status.BAD_OUTPUT)),
        (MATH, outcome(None, 50, Status.OVER_BUDGET)),
    )
    assert [seen.fits(one) for one in seen.tried] == [True, False, False, False]


def test_what_fits_is_listed_fastest_first() -> None:
    seen = history(({}, outcome(3.0, 50)), (FP16, outcome(1.0, 50)), (MATH, outcome(2.0, 50)))
    assert [one.number for one in seen.feasible()] == [2, 3, 1]


def test_the_finalist_is_the_fastest() -> None:
    seen = history(({}, outcome(1.0, 50)), (FP16, outcome(0.9, 50)))
    finalist = seen.finalist()
    assert finalist is not None
    assert finalist.number == 2


@pytest.mark.parametrize(("seconds", "expected"), [(1.029, "simple"), (1.031, "fast")])
def test_within_three_per_cent_the_finalist_is_the_one_with_fewer_changes(
    seconds: float, expected: str
) -> None:
    seen = history((FP16 | MATH, outcome(1.0, 50)), (FP16, outcome(seconds, 50)))
    finalist = seen.finalist()
    assert finalist is not None
    assert {1: "fast", 2: "simple"}[finalist.number] == expected


def test_a_finalist_that_failed_its_confirmation_does_not_come_back() -> None:
    seen = history(({}, outcome(1.0, 50)), (FP16, outcome(0.5, 50)))
    seen.disprove(seen.tried[1])
    finalist = seen.finalist()
    assert finalist is not None
    assert finalist.candidate == BASELINE
    assert [one.number for one in seen.frontier()] == [1]
    seen.disprove(seen.tried[0])
    assert seen.finalist() is None


def test_without_anything_that_fits_there_is_no_finalist() -> None:
    assert history(({}, outcome(1.0, BUDGET + 1))).finalist() is None


def test_the_baseline_is_the_last_trial_of_it_since_the_first_may_have_crashed() -> None:
    seen = history(
        ({}, outcome(None, 0, Status.CRASHED)), ({}, outcome(1.0, 50)), (FP16, outcome(0.5, 50))
    )
    assert seen.baseline is not None
    assert seen.baseline.number == 2
    assert [one.number for one in seen.last_tried()] == [2, 3]
    assert history((FP16, outcome(1.0, 50))).baseline is None


def test_the_frontier_goes_from_the_leanest_to_the_fastest_and_has_no_dominated_point() -> None:
    seen = history(
        ({}, outcome(3.0, 60)),
        (FP16, outcome(1.0, 90)),
        (FP32, outcome(0.5, 300, Status.OVER_BUDGET)),
        (MATH, outcome(2.0, 95)),  # slower than fp16 and larger
        (HALF, outcome(4.0, 40)),
        (FP16 | HALF, outcome(4.0, 40)),  # the same again
        (FP32 | HALF, outcome(0.1, 40, Status.BAD_OUTPUT)),
    )
    assert [one.number for one in seen.frontier()] == [5, 1, 2, 3]


def test_a_trial_without_a_budget_is_judged_against_it_afterwards() -> None:
    over, within = history(({}, outcome(1.0, BUDGET + 1)), (FP16, outcome(1.0, BUDGET))).tried
    assert status_against(over, BUDGET) is Status.OVER_BUDGET
    assert status_against(within, BUDGET) is Status.MEASURED
    crashed = Tried(
        number=1, candidate=BASELINE, why="", outcome=outcome(None, 500, Status.CRASHED)
    )
    assert status_against(crashed, BUDGET) is Status.CRASHED


@pytest.mark.parametrize(
    ("phases", "weights", "expected"),
    [
        # The transformer's own weights outweigh the activations of the peak phase.
        (
            {"load": 90, "denoise": 120, "decode": 100},
            {"transformer": 60, "vae": 10},
            "transformer during denoise",
        ),
        # Decoding takes more than any component weighs: what decodes then binds.
        ({"load": 60, "decode": 200}, {"transformer": 40, "vae": 10}, "vae during decode"),
        ({"encode": 90, "load": 80}, {"transformer": 10, "text_encoder_2": 70},
         "text_encoder_2 during encode"),
        ({"load": 90, "denoise": 80}, {"unet": 70, "vae": 10}, "unet during load"),
        ({"denoise": 90}, {}, "the pipeline during denoise"),
        # Sums over several phases are not phases.
        ({"whole call": 300, "load": 10}, {"unet": 70}, "unet during load"),
        ({"whole call": 300}, {"unet": 70}, None),
    ],
)  # fmt: skip
def test_what_binds_is_the_phase_of_the_peak_and_the_component_to_look_at(
    phases: dict[str, int], weights: dict[str, int], expected: str | None
) -> None:
    assert binding(outcome(1.0, 300, phases=phases, weights=weights)) == expected


def test_nothing_binds_what_was_not_measured() -> None:
    assert binding(Outcome(trial="1", status=Status.CRASHED, stage="load")) is None
