"""Sizes, durations and counts that are read, and the round trips.

What is refused, with its sentence, is in ``tests/data/bad_inputs``.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.errors import BadInput, CannotRun
from autotune.units import (
    FLOOR_BYTES,
    GIB,
    MIB,
    default_budget,
    format_both,
    format_bytes,
    format_duration,
    format_ratio,
    parse_budget,
    parse_bytes,
    parse_count,
    parse_duration,
    parse_percent,
)

TOTAL, FREE = 24 * GIB, 20 * GIB

GOOD_BUDGETS = [
    ("12GB", 12_000_000_000),
    ("12GiB", 12_884_901_888),
    ("12 gib", 12_884_901_888),
    ("12gb", 12_000_000_000),
    ("12.5GB", 12_500_000_000),
    ("0.5 GiB", GIB // 2),
    ("20000kB", 20_000_000),
    ("16MiB", FLOOR_BYTES),
    ("80%", TOTAL * 8 // 10),
    ("33.3%", TOTAL * 333 // 1000),
    ("100%", TOTAL),
    ("free-2GB", FREE - 2_000_000_000),
    ("Free-512MiB", FREE - 512 * MIB),
]


@pytest.mark.parametrize(("text", "expected"), GOOD_BUDGETS)
def test_reads_a_budget(text: str, expected: int) -> None:
    assert parse_budget(text).resolve(TOTAL, FREE) == expected


@pytest.mark.parametrize("text", ["12G", "12Gb", "12Gi", "12 gigs"])
def test_shows_both_spellings_of_an_ambiguous_size(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_bytes(text)
    assert "12GB" in caught.value.hint
    assert "12GiB" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "hint"), [("12,5GB", "write 12.5GB"), ("12,000MB", "write 12.000MB or 12000MB")]
)
def test_hints_at_the_dot_for_a_comma(text: str, hint: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_bytes(text)
    assert caught.value.hint == hint


@pytest.mark.parametrize("text", ["80%", "free-2GB"])
def test_reads_only_sizes_where_a_size_is_needed(text: str) -> None:
    with pytest.raises(BadInput):
        parse_bytes(text)


def test_echoes_a_size_both_ways() -> None:
    assert format_both(parse_bytes("12GB")) == "12 GB (11.18 GiB)"


def test_refuses_more_than_the_device() -> None:
    with pytest.raises(BadInput, match="larger than the device"):
        parse_budget("999TB").resolve(TOTAL, FREE)


@pytest.mark.parametrize("text", ["free-20GiB", "free-999TB", "0.0001%"])
def test_refuses_a_budget_that_leaves_nothing(text: str) -> None:
    with pytest.raises(BadInput, match="floor"):
        parse_budget(text).resolve(TOTAL, FREE)


@pytest.mark.parametrize(
    ("free", "budget"),
    [
        (8 * GIB, 8 * GIB - 512 * MIB),
        (100 * GIB, 100 * GIB - 100 * GIB * 3 // 100),
    ],
)
def test_leaves_a_reserve_without_a_budget(free: int, budget: int) -> None:
    assert default_budget(free) == budget


@pytest.mark.parametrize("free", [0, 512 * MIB, 527 * MIB])
def test_cannot_run_when_only_the_reserve_is_free(free: int) -> None:
    with pytest.raises(CannotRun, match="free"):
        default_budget(free)


@given(st.integers(min_value=FLOOR_BYTES, max_value=2**50))
def test_reads_exact_bytes_from_a_decimal_form(size: int) -> None:
    assert parse_bytes(f"{size // 1000}.{size % 1000:03d}kB") == size


@given(st.integers(min_value=FLOOR_BYTES, max_value=2**50))
def test_printing_and_reading_again_comes_close(size: int) -> None:
    assert parse_bytes(format_bytes(size)) == pytest.approx(size, rel=0.04)


@given(st.text() | st.text("0123456789.kMGTiB% -_,e+", max_size=12))
def test_any_text_is_a_budget_or_bad_input(text: str) -> None:
    try:
        request = parse_budget(text)
        resolved = request.resolve(TOTAL, FREE)
    except BadInput:
        return
    assert FLOOR_BYTES <= resolved <= TOTAL


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("10m", 600),
        ("1h", 3600),
        ("1h30m", 5400),
        ("2m30s", 150),
        ("1h0m5s", 3605),
        ("720h", 2_592_000),
    ],
)
def test_reads_a_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(("text", "count"), [("1", 1), ("20", 20), ("007", 7), ("1000000", 10**6)])
def test_reads_a_count(text: str, count: int) -> None:
    assert parse_count(text, "--trials") == count


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (412 * MIB, "412 MiB"),
        (GIB - 1, "1.00 GiB"),
        (12_000_000_000, "11.18 GiB"),
        (1024 * GIB, "1.00 TiB"),
        (-3 * MIB, "-3 MiB"),
    ],
)
def test_prints_a_size(size: int, text: str) -> None:
    assert format_bytes(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.000 s"),
        (0.412, "0.412 s"),
        (0.9996, "1.00 s"),
        (1.84, "1.84 s"),
        (9.999, "10.0 s"),
        (12.34, "12.3 s"),
        (59.97, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3599.6, "1 h 00 min"),
        (3720, "1 h 02 min"),
        (-2.5, "-2.50 s"),
    ],
)
def test_prints_a_duration(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.floats(min_value=0, max_value=10**7))
def test_never_prints_sixty_seconds_or_minutes(seconds: float) -> None:
    assert not re.search(r"\b60(\.0)? (s|min)", format_duration(seconds))


def test_prints_a_ratio() -> None:
    assert format_ratio(1.8401) == "1.84×"


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), ("2.5%", 0.025), ("100%", 1.0)])
def test_a_percentage_is_a_fraction(text: str, share: float) -> None:
    assert parse_percent(text) == share


@pytest.mark.parametrize(
    "text", ["5", "0%", "101%", "-5%", "5 %", "", "%", "nan%", "٥%", "1" * 99]
)
def test_what_is_no_percentage_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"percentage|not above 0%") as caught:
        parse_percent(text)
    assert caught.value.hint == "write for example 5%"
