"""What a study makes small: what is read, and which time each objective is."""

from __future__ import annotations

import pytest

from autotune.errors import BadInput
from autotune.objective import STEADY, Objective, parse_objective


@pytest.mark.parametrize("text", ["steady", "first", "total:1", "total:37", "total:999999"])
def test_an_objective_is_read_as_it_is_written(text: str) -> None:
    found = parse_objective(text)
    assert str(found) == text
    assert found.counts_start is (found != STEADY)
    assert found.sentence


@pytest.mark.parametrize(
    "text", ["", "Steady", "total", "total:", "total:0", "total:01", "total:-1", "total:1.5",
             "total:1000000", "total:٣", "first ", "first\n", "steady:2"],
)  # fmt: skip
def test_what_is_no_objective_is_refused_with_the_forms_there_are(text: str) -> None:
    with pytest.raises(BadInput, match="there is no objective") as error:
        parse_objective(text)
    assert error.value.hint == "steady, first, or total:100 for 100 images"


def test_each_objective_is_another_time() -> None:
    steady_s, first_s, load_s = 2.0, 10.0, 30.0
    assert STEADY.seconds(steady_s, first_s, load_s) == 2.0
    assert Objective(kind="first").seconds(steady_s, first_s, load_s) == 10.0
    assert Objective(kind="total", images=1).seconds(steady_s, first_s, load_s) == 40.0
    assert Objective(kind="total", images=10).seconds(steady_s, first_s, load_s) == 5.8


def test_each_objective_has_words_that_follow_a_number() -> None:
    units = [parse_objective(text).unit for text in ("steady", "first", "total:37")]
    assert units == ["an image", "the first image", "an image of 37"]


def test_a_time_of_which_a_part_is_unknown_is_unknown() -> None:
    assert STEADY.seconds(2.0, None, None) == 2.0
    assert Objective(kind="first").seconds(2.0, None, 1.0) is None
    assert Objective(kind="total", images=2).seconds(2.0, 3.0, None) is None
