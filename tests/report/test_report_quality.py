"""What people are told of pictures: while it runs, at the end, and by the recipe."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from autotune.recipe.read import read_recipe
from autotune.records import Fidelity
from autotune.report.json import to_json
from autotune.report.recipe import explanation
from autotune.report.text import advice, print_result
from tests.search.factory import make_model
from tests.search.studies import study
from tests.search.test_gate import REAL, WORLD, likeness, seen

LOOKS = {"dtype=fp16": 0.9, "vae-tiling=half": 0.2}
SCORES = "SSIM 0.950, PSNR 52.0 dB, FLIP 0.050 as the median of 2, 0.900, 46.0 dB, 0.100 at worst"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNE_CACHE", str(tmp_path / "cache"))


def test_the_end_of_a_study_says_how_like_the_baselines_the_pictures_are(tmp_path: Path) -> None:
    result, _, _ = study(
        tmp_path, seen(WORLD, LOOKS), model=REAL, quality=Fidelity.BALANCED, trials=27
    )
    assert f"        pictures: balanced was asked for: {SCORES}" in list(advice(result))
    stream = io.StringIO()
    print_result(result, stream)
    told = " ".join(stream.getvalue().split())
    assert "SSIM 0.200 in picture 1, balanced asks for 0.600" in told
    assert "the picture is broken" not in told
    quality = to_json(result)["quality"]
    assert (quality["fidelity"], quality["asked"]) == ("assessed", "balanced")
    assert quality["likeness"] == likeness(0.9).model_dump(mode="json")


def test_a_recipe_is_explained_with_the_likeness_and_the_noise(tmp_path: Path) -> None:
    looks = LOOKS | {"attention=native-math": 0.97}
    result, _, _ = study(tmp_path, seen(WORLD, looks), model=REAL, quality=Fidelity.BALANCED)
    assert result.recipe_path is not None
    lines = list(explanation(read_recipe(result.recipe_path), "recipe.json"))
    at = lines.index(
        f"quality:  health passed, fidelity assessed: balanced was asked for: {SCORES}"
    )
    assert lines[at + 1].startswith(
        "          an exact implementation beside the baseline: SSIM 0.985"
    )


def test_random_weights_are_said_to_mean_nothing_beside_the_scores(tmp_path: Path) -> None:
    result, _, _ = study(tmp_path, seen(WORLD, LOOKS), model=make_model(), trials=27)
    (line,) = [one for one in advice(result) if "fidelity" in one]
    assert line == (
        "        picture fidelity is not assessed: the weights are random: pictures mean nothing "
        f"({SCORES})"
    )
