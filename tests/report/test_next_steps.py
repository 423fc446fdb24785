"""What more memory would buy, and what to try next, from a recipe alone."""

from __future__ import annotations

import pytest

from autotune.recipe.schema import FrontierPoint, Recipe, Refused
from autotune.records import Fidelity
from autotune.report.next_steps import more_memory, to_try
from autotune.report.recipe import explanation
from autotune.status import Status
from tests.recipe.factory import CHOICES, make_evidence, make_recipe

GB = 1_000_000_000
PLAIN = {**CHOICES, "vae_tiling": "off"}


def point(gb: float, latency_s: float) -> FrontierPoint:
    return FrontierPoint(peak_bytes=round(gb * GB), latency_s=latency_s, choices=PLAIN)


@pytest.mark.parametrize(
    ("frontier", "said"),
    [
        ((point(0.3, 0.5),), "more memory would buy nothing that was tried"),
        # One per cent is not worth two gigabytes.
        ((point(0.3, 0.5), point(1.0, 0.496)), "more memory would buy nothing that was tried"),
        (
            (point(0.3, 0.5), point(1.0, 0.4), point(2.0, 0.25), point(9.0, 0.1)),
            "2 GB more would buy vae_tiling=off: 0.250 s an image, 2.02× the speed, "
            "with a peak of 1.86 GiB",
        ),
        (
            (point(0.3, 0.5), point(9.0, 0.25), point(20.0, 0.1)),
            "2 GB more would buy nothing that was tried; vae_tiling=off: 0.250 s an image, "
            "2.02× the speed, with a peak of 8.38 GiB",
        ),
    ],
)
def test_what_the_next_two_gigabytes_buy(frontier: tuple[FrontierPoint, ...], said: str) -> None:
    assert more_memory(make_recipe(frontier=frontier)) == said


def advice(recipe: Recipe) -> str:
    return "\n".join(to_try(recipe, "my.json"))


def test_a_confirmed_recipe_of_many_trials_with_real_weights_asks_for_nothing() -> None:
    recipe = make_recipe()
    recipe = recipe.but(
        evidence=recipe.evidence.but(trials=60),
        budget=recipe.budget.but(emulated=False),
        model=recipe.model.but(weights="real"),
    )
    assert advice(recipe) == ""


def test_a_provisional_one_is_gone_on_with() -> None:
    assert "goes on where it ended" in advice(make_recipe(status="provisional"))


def test_an_emulated_one_is_verified_on_the_real_device() -> None:
    assert "autotune verify my.json on the real device" in advice(make_recipe())


def test_where_nothing_was_proven_more_effort_may() -> None:
    assert "--effort thorough" in advice(make_recipe(evidence=make_evidence(baseline=None)))
    assert "--effort thorough" not in advice(make_recipe())


def test_few_trials_can_be_more() -> None:
    assert "more --trials look at more candidates: 12 were run" in advice(make_recipe())


def refused(latency_s: float, status: Status = Status.BAD_OUTPUT) -> Refused:
    return Refused(choices=PLAIN, status=status, reason="SSIM 0.5", latency_s=latency_s)


@pytest.mark.parametrize(
    ("asked", "row", "said"),
    [
        (Fidelity.CLOSE, refused(0.3), True),
        (Fidelity.CLOSE, refused(0.6), False),
        (Fidelity.CLOSE, refused(0.3, Status.CRASHED), False),
        (Fidelity.ANY, refused(0.3), False),
        (None, refused(0.3), False),
    ],
)
def test_what_was_refused_for_its_pictures_is_named(
    asked: Fidelity | None, row: Refused, said: bool
) -> None:
    recipe = make_recipe(refused=(row,))
    quality = recipe.evidence.quality.but(asked=asked)
    recipe = recipe.but(evidence=recipe.evidence.but(quality=quality))
    wanted = (
        "--quality any lets pictures change more than close does: vae_tiling=off takes 0.300 s"
    )
    assert (wanted in advice(recipe)) is said


def test_explain_says_it_at_its_end() -> None:
    *_, memory, _, last = explanation(make_recipe(), "my.json")
    assert memory.startswith("to try: ") or memory.startswith("memory: ")
    assert last.startswith("to try:   ")
