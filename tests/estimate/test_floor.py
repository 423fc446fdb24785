"""Measurements that cannot be true, first of all those that were published (numbers.md, H)."""

from __future__ import annotations

import pytest

from autotune.estimate.cards import find_card
from autotune.estimate.ceilings import ceilings_from_card
from autotune.estimate.floor import floor_s, problem_of, ratio_problem
from autotune.estimate.profile import Profile, Work
from tests.estimate.published import FLUX_PASS, GB, T, flux, one_pass


def floor(profile: Profile, card: str, *, linear: str = "bf16", computed: float = 1.0) -> float:
    ceilings = ceilings_from_card(find_card(card))
    return floor_s(
        profile, ceilings, linear_format=linear, attention_format="bf16", computed=computed
    )


def qwen(passes: int) -> Profile:
    profile = one_pass("qwen", 20.4, Work(linear=57.42 * T, attention=13.15 * T))
    return profile.but(denoise=(profile.denoise[0].but(count=passes),))


def problem(profile: Profile, card: str, latency_s: float) -> str | None:
    return problem_of(latency_s, None, floor_s=floor(profile, card), resident_bytes=0)


# ------------------------------------------------------------------------- the published ones


def test_flux_in_six_seconds_on_a_4090_is_faster_than_the_card_can_compute() -> None:
    found = problem(flux(30), "4090", 6.2)
    assert found == "faster than the card can compute: 6.20 s, the floor is 12.7 s"


def test_flux_in_22_gb_is_less_than_its_weights() -> None:
    found = problem_of(60.0, int(22 * GB), floor_s=12.2, resident_bytes=int(23.8 * GB))
    assert found == (
        "less memory than the weights that must lie on the device: "
        "22 GB (20.49 GiB), they take 23.8 GB (22.17 GiB)"
    )


@pytest.mark.parametrize("latency_s", [4.70, 1.93])
def test_qwen_image_of_50_steps_in_seconds_on_an_a100_is_too_fast(latency_s: float) -> None:
    assert problem(qwen(50), "A100 80GB", latency_s)


def test_a_pass_of_flux_in_374_ms_is_too_fast_for_an_l40_and_not_for_an_l40s() -> None:
    profile = one_pass("flux", 11.9, FLUX_PASS)
    assert problem(profile, "L40", 0.374)
    assert problem(profile, "L40S", 0.374) is None


def test_a_claimed_ratio_is_held_against_its_own_pair() -> None:
    assert ratio_problem(1.8, 2.271, 1.675) == (
        "said to be 1.80 times as fast, but 2.27 s and 1.68 s give 1.36"
    )
    assert ratio_problem(1.36, 2.271, 1.675) is None
    assert ratio_problem(1.5, 6.7, 4.5) is None


# ------------------------------------------------------------------------------ the true ones


@pytest.mark.parametrize(
    ("card", "steps", "linear", "published_s"),
    [
        ("H200", 28, "bf16", 3.50),
        ("H100", 28, "bf16", 4.209),
        ("H100", 28, "fp8", 2.966),
        ("4090", 28, "fp8", 9.668),
        ("4090", 50, "bf16", 25.847),
        ("L20", 28, "bf16", 20.3),
    ],
)
def test_the_fastest_true_results_are_above_the_floor(
    card: str, steps: int, linear: str, published_s: float
) -> None:
    assert floor(flux(steps), card, linear=linear) < published_s


@pytest.mark.parametrize(
    ("card", "linear", "without_allowance_s"),
    [
        ("4090", "bf16", 12.67),
        ("H100", "bf16", 2.12),
        ("4090", "fp8", 7.63),
        ("H100", "fp8", 1.27),
    ],
)
def test_floors_are_those_of_the_table_less_what_clocks_may_exceed(
    card: str, linear: str, without_allowance_s: float
) -> None:
    share = floor(flux(), card, linear=linear) / without_allowance_s
    assert 0.9 < share < 0.95


def test_a_format_that_the_card_does_not_have_is_no_faster() -> None:
    assert floor(flux(), "3090", linear="fp8") == floor(flux(), "3090")


def test_what_a_cache_skips_is_not_asked_for() -> None:
    assert floor(flux(), "H200", computed=0.3) < 0.32 * floor(flux(), "H200")


def test_a_model_that_was_not_counted_has_no_floor() -> None:
    profile = flux().but(denoise=(), decode={}, uncounted="no reason")
    assert floor(profile, "4090") == 0.0


def test_a_little_less_than_the_weights_is_how_memory_is_counted() -> None:
    assert problem_of(None, 990, floor_s=1.0, resident_bytes=1000) is None
    assert problem_of(None, 990, floor_s=1.0, resident_bytes=1000, slack=0.0)
    assert problem_of(None, None, floor_s=1.0, resident_bytes=1000) is None
