"""batch: pictures are counted where they come out of decoding, in tiles, slices and frames too."""

from __future__ import annotations

import pytest

from autotune.levers import load_levers
from autotune.levers.base import Seen
from autotune.models.structure import Structure
from tests.levers.built import built, card, observed, proof, reasons
from tests.trial.bench import SMALL, fitted, tiny_model

pytestmark = pytest.mark.trials
LARGE = SMALL.but(height=128, width=128)


@pytest.mark.parametrize(
    ("pipeline", "choice", "others"),
    [
        ("sd15", "x2", {"vae_slicing": "on"}),
        ("sd15", "x4", {"vae_tiling": "half", "vae_slicing": "on"}),
        ("wan", "x2", {"vae_slicing": "on"}),
        ("wan", "x2", {"vae_dtype": "bf16"}),
    ],
)
def test_pictures_are_counted_however_they_are_decoded(
    pipeline: str, choice: str, others: dict[str, str]
) -> None:
    target = built(pipeline, LARGE, batch=choice, **others)
    picture = observed(target, batch=choice)
    times = int(choice[1:])
    assert len(picture) == times
    assert proof(target, "batch", choice).engaged
    assert not proof(target, "batch", "x8").engaged
    assert not proof(target, "batch", "as-asked").engaged


@pytest.mark.parametrize("pipeline", ["sd15", "wan"])
def test_one_batch_is_not_taken_for_two(pipeline: str) -> None:
    """SD's denoiser sees two for one picture (guidance), Wan's decoder two for one video."""
    target = built(pipeline, batch="x2", vae_slicing="off")
    target.multiple = 1  # the caller does not do as it is told
    observed(target, batch="x2")
    target.multiple = 2
    made = proof(target, "batch", "x2")
    assert not made.engaged
    assert made.detail == "1 of 2 decoded in one call"


def test_the_gate_is_set_up_once_and_changes_nothing() -> None:
    target = built("sd15", batch="as-asked")
    lever = load_levers()["batch"]
    plain = observed(target)
    first = lever.watched(target, "as-asked")  # type: ignore[attr-defined]
    assert lever.watched(target, "as-asked") == first  # type: ignore[attr-defined]
    assert bool((observed(target, batch="as-asked") == plain).all())
    assert target.seen["batch:decode"] == Seen(calls=1, widest_output=(1, 3, 64, 64))


def test_a_pipeline_that_takes_no_number_of_pictures_says_so() -> None:
    view = Structure(tiny_model("sd15"), SMALL.but(frames=5))
    assert reasons("batch", card(), view)["x2"] == (
        "StableDiffusionPipeline does not take num_videos_per_prompt"
    )
    wan = Structure(tiny_model("wan"), fitted("wan", SMALL))
    assert reasons("batch", card(), wan)["x8"] is None
