"""What made-up films say against a measurement."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autotune.probe.film import Film
from autotune.probe.spoilt import held_bytes, interfered, shares_of_reasons, throttled

GIB = 1 << 30
TOTAL = 16 * GIB
#: A trial runs from 2 to 8; its calls are timed from 4 on.
START_S, TIMED_S, END_S = 2.0, 4.0, 8.0

IDLE = {"used_bytes": GIB, "utilisation": 0.0, "processes": 0, "sm_clock_mhz": 300}
WORKING = {"used_bytes": 5 * GIB, "utilisation": 0.9, "processes": 1, "sm_clock_mhz": 1900}


def filmed(*changes: tuple[float, float, dict[str, object]], after: dict[str, object]) -> Film:
    """Ten seconds, ten frames a second: what changes in the trial between two moments."""
    film = Film(max_clock_mhz=2000)
    for tenth in range(100):
        at_s = tenth / 10
        facts: dict[str, object] = {"event_reasons": 0, **IDLE}
        if START_S < at_s <= END_S:
            facts |= WORKING
            for since_s, until_s, change in changes:
                facts |= change if since_s < at_s <= until_s else {}
        elif at_s > END_S:
            facts |= after
        film.add({"at_s": at_s, **facts})
    return film


def others(film: Film) -> str | None:
    return interfered(film, START_S, TIMED_S, END_S, TOTAL)


def slowed(film: Film) -> str | None:
    return throttled(film, TIMED_S, END_S)


def test_a_quiet_film_has_nothing_to_say() -> None:
    film = filmed(after={})
    assert (others(film), slowed(film)) == (None, None)
    assert held_bytes(film, START_S, END_S, TOTAL) == 0
    assert shares_of_reasons(film, TIMED_S, END_S) == {}


@pytest.mark.fault("G9")
@pytest.mark.parametrize(
    ("bit", "name"),
    [
        (0x8, "hardware slowdown"),
        (0x20, "software thermal slowdown"),
        (0x40, "hardware thermal slowdown"),
        (0x80, "power brake"),
    ],
)
def test_a_card_that_protects_itself_is_throttled(bit: int, name: str) -> None:
    hot = {"event_reasons": bit | 0x4, "temperature_c": 91}
    assert slowed(filmed((5.0, 7.0, hot), after={})) == (
        f"the device slowed itself down for 50% of the time at 91 °C: {name}"
    )


def test_a_blink_spoils_nothing() -> None:
    assert slowed(filmed((5.0, 5.1, {"event_reasons": 0x40}), after={})) is None


def test_what_happened_before_calls_were_timed_does_not_count() -> None:
    assert slowed(filmed((2.0, 4.0, {"event_reasons": 0x40}), after={})) is None
    assert others(filmed((2.0, 4.0, {"processes": 2}), after={})) is None


def test_a_software_power_cap_is_normal_and_recorded() -> None:
    film = filmed((4.0, 8.0, {"event_reasons": 0x4, "sm_clock_mhz": 1200}), after={})
    assert slowed(film) is None
    assert shares_of_reasons(film, TIMED_S, END_S) == {
        "software power cap": pytest.approx(1, abs=0.05)
    }


def test_a_reason_that_nobody_knows_is_recorded() -> None:
    film = filmed((4.0, 6.0, {"event_reasons": 0x8000}), after={})
    assert slowed(film) is None
    assert shares_of_reasons(film, TIMED_S, END_S) == {
        "unknown reason 0x8000": pytest.approx(0.5, abs=0.05)
    }


def test_a_low_clock_under_load_for_no_reason_is_throttled() -> None:
    film = filmed((5.0, 8.0, {"sm_clock_mhz": 1400}), after={})
    assert slowed(film) == (
        "the device ran at 1400 MHz under load, of 1900 MHz, for no known reason"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"sm_clock_mhz": 1500},
        {"sm_clock_mhz": 900, "utilisation": 0.2},
        {"sm_clock_mhz": 900, "event_reasons": 0x2},
        {"sm_clock_mhz": None},
        {"sm_clock_mhz": 900, "utilisation": None},
    ],
    ids=["hardly lower", "without load", "clocks that were set", "unknown", "load unknown"],
)
def test_a_low_clock_with_an_ordinary_cause_is_not(change: dict[str, object]) -> None:
    assert slowed(filmed((4.0, 8.0, change), after={})) is None


def test_a_clock_that_a_card_never_reaches_is_no_measure_of_it() -> None:
    film = filmed((2.0, 8.0, {"sm_clock_mhz": 1400}), after={})
    assert slowed(film) is None


@pytest.mark.fault("G7", "G8")
@pytest.mark.parametrize(
    ("changes", "after", "said"),
    [
        ([(5.0, 6.0, {"processes": 2})], {}, "another process came onto the device"),
        ([], {"processes": 1}, "another process came onto the device"),
        ([], {"processes": 1, "used_bytes": 2 * GIB}, "another process came onto the device"),
        ([], {"utilisation": 0.6}, "other processes keep the device busy for 60% of the time"),
        ([], {"used_bytes": 0}, "others gave back 1.00 GiB of the device's memory"),
    ],
)
def test_neighbours_are_told_by_what_differs(
    changes: list[tuple[float, float, dict[str, object]]], after: dict[str, object], said: str
) -> None:
    assert others(filmed(*changes, after=after)) == said


def test_a_neighbour_that_leaves_was_one() -> None:
    film = filmed((2.0, 6.0, {"processes": 2}), after={})
    before = [replace(one, processes=1) for one in film.frames if one.at_s <= START_S]
    film.frames[: len(before)] = before
    assert others(film) == "another process left the device"


def test_memory_that_stays_though_no_process_does_was_left_behind() -> None:
    film = filmed(after={"used_bytes": 3 * GIB})
    assert held_bytes(film, START_S, END_S, TOTAL) == 2 * GIB
    assert others(film) is None


def test_where_processes_are_hidden_memory_that_stays_may_be_anybodys() -> None:
    film = filmed((2.0, 8.0, {"processes": 0}), after={"used_bytes": 3 * GIB})
    assert held_bytes(film, START_S, END_S, TOTAL) == 0
    assert others(film) == "others took 2.00 GiB of the device's memory"


def test_a_little_memory_is_nobodys_fault() -> None:
    film = filmed((2.0, 8.0, {"processes": 0}), after={"used_bytes": GIB + (60 << 20)})
    assert others(film) is None


def test_a_film_of_which_nothing_is_known_says_nothing() -> None:
    film = Film()
    film.add({"at_s": 1.0})
    film.add({"at_s": 9.0})
    assert (others(film), slowed(film)) == (None, None)
    assert (others(Film()), slowed(Film())) == (None, None)
    assert held_bytes(film, START_S, END_S, TOTAL) == 0
