"""Rules at work on a space: pins that may not stand together, a baseline that may not run."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from autotune.errors import BadInput
from autotune.estimate.profile import bare_profile
from autotune.search.admission import Admission
from autotune.search.definition import Definition
from autotune.search.ruled import refuse_pins, ruled
from autotune.search.space import Space, build_space
from tests.search.factory import make_choices, make_device, make_model

LEVERS = {
    "dtype": ("fp32", "bf16", "fp16"),
    "attention": ("native", "native-flash", "native-math"),
    "attention-slicing": ("off", "auto", "max"),
    "vae-tiling": ("off", "half"),
}


def admission(family: str = "demo", kind: str = "cuda", budget: int = 1 << 30) -> Admission:
    model = make_model(family=family)
    return Admission(
        model=model,
        profile=bare_profile(model),
        device=make_device(kind=kind),
        budget_bytes=budget,
        software={"diffusers": "0.42.1"},
    )


def space(pins: Mapping[str, str] | None = None, **wanted: object) -> Space:
    definition = Definition(levers={**dict.fromkeys(LEVERS, "all"), **wanted})
    return build_space(make_choices(LEVERS), definition, pins or {})


def test_pins_that_exclude_each_other_are_refused_by_name_with_the_rules_reason() -> None:
    pins = {"dtype": "fp32", "attention": "native-flash", "vae-tiling": "off"}
    with pytest.raises(BadInput) as caught:
        refuse_pins(pins, admission())
    assert caught.value.message.startswith(
        "dtype=fp32 with attention=native-flash cannot be set here: "
        "on a GPU this attention kernel takes bf16 and fp16 only"
    )
    assert "vae-tiling" not in caught.value.message
    assert caught.value.hint == "leave one --set out"


def test_a_single_pin_that_the_family_cannot_take_is_refused() -> None:
    with pytest.raises(BadInput, match=r"dtype=fp16 cannot be set here: Flux\.1 overflows"):
        refuse_pins({"dtype": "fp16"}, admission(family="flux"))


def test_pins_that_break_a_rule_elsewhere_are_accepted_here() -> None:
    refuse_pins({"dtype": "fp16"}, admission(family="sdxl"))
    refuse_pins({"dtype": "fp32", "attention": "native-flash"}, admission(kind="cpu"))
    refuse_pins({}, admission())


def test_a_pin_that_the_plain_baseline_cannot_stand_moves_the_baseline_by_one_change() -> None:
    pinned = space({"attention": "native-flash"})
    assert pinned.baseline["dtype"] == "fp32"  # which flash attention does not take on a GPU
    moved = ruled(pinned, admission())
    assert moved.baseline == {**pinned.baseline, "dtype": "bf16"}
    assert admission().rule(moved.baseline) is None


def test_a_baseline_that_no_rule_excludes_stays() -> None:
    plain = space()
    assert ruled(plain, admission()) is plain


def test_a_space_that_the_rules_empty_says_which_rules_did() -> None:
    fixed = space({"attention": "native-flash"}, dtype="baseline")
    with pytest.raises(BadInput) as caught:
        ruled(fixed, admission())
    assert "the rules exclude every candidate of the space" in caught.value.message
    assert "gpu-kernels-need-half: on a GPU this attention kernel" in caught.value.message
    assert "flux-fp16" not in caught.value.message
    assert caught.value.hint


def test_every_rule_that_helped_to_empty_the_space_is_named() -> None:
    fixed = space({"attention": "native-flash"}, dtype=("fp16",))
    with pytest.raises(BadInput) as caught:
        ruled(fixed, admission(family="flux"))
    assert "gpu-kernels-need-half" in caught.value.message
    assert "flux-fp16" in caught.value.message


# ---------------------------------------------------------------------------------- admission


def test_a_candidate_that_breaks_a_rule_is_refused_with_reason_and_citation() -> None:
    reason = admission(family="flux").rule({"dtype": "fp16", "attention": "native"})
    assert reason is not None
    assert "black pictures" in reason
    assert "diffusers#9096" in reason


@pytest.mark.parametrize("kind", ["cuda", "cpu"])
@pytest.mark.parametrize("choice", ["fp32", "bf16"])
def test_what_surely_takes_more_than_the_budget_is_refused_to_the_byte(
    choice: str, kind: str
) -> None:
    least = admission(kind=kind).memory({"dtype": choice}).least_bytes
    assert admission(kind=kind, budget=least).too_large({"dtype": choice}) is None
    reason = admission(kind=kind, budget=least - 1).too_large({"dtype": choice})
    assert reason is not None
    assert " at the least, " in reason


def test_half_of_the_bytes_a_number_is_less_memory() -> None:
    least = {
        choice: admission().memory({"dtype": choice}).least_bytes for choice in LEVERS["dtype"]
    }
    assert least["bf16"] == least["fp16"] < least["fp32"]


def test_without_a_lever_that_says_what_it_does_the_weights_lie_as_stored() -> None:
    judge = admission()
    assert judge.memory({"vae-slicing": "off"}) == judge.memory({})
