"""Steps that a time buys: arithmetic on made-up generations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.stats.pace import pace_of

PHASES = {"encode": 0.1, "denoise": 1.4, "decode": 0.5}


def test_the_phases_of_a_watched_generation_are_scaled_to_a_timed_one() -> None:
    pace = pace_of(1.0, PHASES, 28)  # watched, it took two seconds
    assert pace is not None
    assert pace.fixed_s == pytest.approx(0.3)
    assert pace.step_s == pytest.approx(0.7 / 28)


def test_the_time_of_a_generation_buys_its_own_steps_and_a_little_less_one_fewer() -> None:
    pace = pace_of(1.0, PHASES, 28)
    assert pace is not None
    assert pace.steps_within(1.0) == 28
    assert pace.steps_within(0.999) == 27
    assert pace.steps_within(0.3 + 17.5 * 0.7 / 28) == 17
    assert pace.steps_within(1.5) == 48


def test_a_time_short_of_encoding_and_decoding_buys_no_step() -> None:
    pace = pace_of(1.0, PHASES, 28)
    assert pace is not None
    assert pace.steps_within(0.3) == 0
    assert pace.steps_within(0.01) == 0


@pytest.mark.parametrize(
    ("seconds", "phases", "steps"),
    [
        (1.0, {}, 28),
        (1.0, {"encode": 0.1, "decode": 0.5}, 28),
        (1.0, {"denoise": 0.0}, 28),
        (1.0, PHASES, 0),
        (0.0, PHASES, 28),
    ],
)
def test_without_phases_or_steps_there_is_no_pace(
    seconds: float, phases: dict[str, float], steps: int
) -> None:
    assert pace_of(seconds, phases, steps) is None


@given(
    seconds=st.floats(0.01, 1e4),
    share=st.floats(0.01, 1.0),
    steps=st.integers(1, 200),
)
def test_a_generation_always_affords_itself(seconds: float, share: float, steps: int) -> None:
    pace = pace_of(seconds, {"denoise": share, "decode": 1 - share}, steps)
    assert pace is not None
    assert pace.fixed_s + pace.steps * pace.step_s == pytest.approx(seconds)
    assert pace.steps_within(seconds) == steps
