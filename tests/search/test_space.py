"""What can exist, why the rest cannot, and what a pin does."""

from __future__ import annotations

import pytest

from autotune.errors import BadInput
from autotune.search.definition import Definition
from autotune.search.space import Space, build_space, every, parse_pins
from tests.search.factory import BASELINE, LEVERS, make_choices, make_space

ALL = Definition(levers=dict.fromkeys(LEVERS, "all"))


def ids(space: Space, lever: str) -> tuple[str, ...]:
    return tuple(choice.id for choice in space.levers[lever])


def test_all_takes_every_choice_and_baseline_only_one() -> None:
    space = build_space(
        make_choices(), Definition(levers={"dtype": "all", "attention": "baseline"}), {}
    )
    assert ids(space, "dtype") == ("bf16", "fp32", "fp16")
    assert ids(space, "attention") == ("native",)
    assert ids(space, "vae-tiling") == ("off",)  # not named: left alone
    assert space.open_levers == {"dtype": ("bf16", "fp32", "fp16")}
    assert space.size == 3


def test_a_list_keeps_the_baseline_too_for_without_it_there_is_nothing_to_compare_with() -> None:
    space = build_space(make_choices(), Definition(levers={"dtype": ("fp16",)}), {})
    assert ids(space, "dtype") == ("bf16", "fp16")
    assert space.baseline["dtype"] == "bf16"


def test_every_choice_that_is_left_out_has_its_reason() -> None:
    choices = make_choices(unavailable={"attention=native-flash": "needs a CUDA device"})
    space = build_space(choices, Definition(levers={"attention": "all"}), {"dtype": "fp32"})
    reasons = {f"{one.lever}={one.choice}": one.reason for one in space.left_out}
    assert reasons == {
        "attention=native-flash": "needs a CUDA device",
        "dtype=bf16": "pinned",
        "dtype=fp16": "pinned",
        "vae-tiling=half": "not in the search space",
        "vae-tiling=quarter": "not in the search space",
    }


def test_the_words_all_and_baseline_are_not_searched_for_choice_ids() -> None:
    choices = make_choices({"x": ("off", "line", "base", "a")})
    space = build_space(choices, Definition(levers={"x": "baseline"}), {})
    assert ids(space, "x") == ("off",)


@pytest.mark.parametrize(
    ("levers", "message", "hint"),
    [
        ({"dtyp": "all"}, "no lever 'dtyp'", "did you mean dtype?"),
        ({"vae_tiling": "all"}, "no lever 'vae_tiling'", "did you mean vae-tiling?"),
        ({"dtype": ("FP32",)}, "no choice of dtype 'FP32'", "did you mean fp32?"),
        ({"dtype": ("int4",)}, "no choice of dtype 'int4'", "bf16, fp32, fp16"),
    ],
)
def test_a_file_that_names_what_does_not_exist_is_refused_with_a_close_match(
    levers: dict[str, str], message: str, hint: str
) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        build_space(make_choices(), Definition(levers=levers), {})
    assert hint in str(caught.value.hint)


# --------------------------------------------------------------------------------------- pins


def test_a_pinned_lever_has_one_choice_in_the_baseline_too() -> None:
    space = build_space(make_choices(), ALL, {"dtype": "fp16"})
    assert ids(space, "dtype") == ("fp16",)
    assert space.baseline == {**BASELINE, "dtype": "fp16"}
    assert "dtype" not in space.open_levers
    assert {candidate["dtype"] for candidate in every(space)} == {"fp16"}


def test_a_pin_outside_the_search_space_wins_over_it() -> None:
    space = build_space(make_choices(), Definition(levers={"dtype": ("fp32",)}), {"dtype": "fp16"})
    assert ids(space, "dtype") == ("fp16",)


@pytest.mark.parametrize(
    ("pins", "message", "hint"),
    [
        ({"atention": "native"}, "no lever 'atention'", "did you mean attention?"),
        ({"attention": "natve"}, "no choice of attention 'natve'", "did you mean native?"),
        ({"quantization": "int8"}, "no lever 'quantization'", "dtype"),
    ],
)
def test_a_pin_that_names_what_does_not_exist_is_refused_with_a_close_match(
    pins: dict[str, str], message: str, hint: str
) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        build_space(make_choices(), ALL, pins)
    assert hint in str(caught.value.hint)


def test_a_pin_that_is_not_available_here_is_refused_with_its_reason() -> None:
    choices = make_choices(unavailable={"attention=native-flash": "needs a CUDA device"})
    with pytest.raises(BadInput) as caught:
        build_space(choices, ALL, {"attention": "native-flash"})
    assert caught.value.message == (
        "attention=native-flash cannot be set here: needs a CUDA device"
    )
    assert caught.value.hint


def test_settings_are_read_as_lever_and_choice() -> None:
    assert parse_pins(["dtype=fp16", "attention=native"]) == {
        "dtype": "fp16",
        "attention": "native",
    }
    assert parse_pins(["dtype=fp16", "dtype=fp16"]) == {"dtype": "fp16"}


@pytest.mark.parametrize("text", ["", "dtype", "dtype=", "=fp16", "="])
def test_a_setting_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="is not a setting") as caught:
        parse_pins([text])
    assert caught.value.hint == "--set attention=native"


def test_a_lever_set_to_two_choices_is_refused_with_both() -> None:
    with pytest.raises(BadInput, match=r"dtype.*fp16.*fp32"):
        parse_pins(["dtype=fp16", "dtype=fp32"])


def test_changes_name_what_differs_from_the_baseline() -> None:
    space = make_space()
    assert space.changes(BASELINE) == {}
    assert space.changes({**BASELINE, "dtype": "fp16"}) == {"dtype": "fp16"}
