"""Broken pictures are found on the floats, before a cast turns NaN into black."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autotune.trial.output import FLAT_DEVIATION, picture_of, problem_of, save_picture


def noise(*shape: int) -> Any:
    import torch

    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


PLAIN = SimpleNamespace()


def test_an_ordinary_picture_has_no_problem() -> None:
    assert problem_of(noise(1, 3, 8, 8), PLAIN) is None
    assert (
        problem_of(noise(1, 3, 8, 8).half(), SimpleNamespace(nsfw_content_detected=None)) is None
    )
    assert problem_of(noise(1, 3, 8, 8), SimpleNamespace(nsfw_content_detected=[False])) is None


@pytest.mark.fault("T15")
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_one_bad_pixel_is_found(value: float) -> None:
    picture = noise(1, 3, 10, 10)
    picture[0, 1, 2, 3] = value
    assert problem_of(picture, PLAIN) == "0% of the picture is NaN or infinite"
    picture[:, :, :5] = value
    assert problem_of(picture, PLAIN) == "50% of the picture is NaN or infinite"


@pytest.mark.fault("T16")
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_a_picture_of_one_colour_is_flat(level: float) -> None:
    picture = noise(1, 3, 8, 8)
    flat = picture * 0 + level
    assert "flat" in (problem_of(flat, PLAIN) or "")
    assert "flat" in (problem_of(flat + picture * FLAT_DEVIATION, PLAIN) or "")
    assert problem_of(flat + picture * FLAT_DEVIATION * 10, PLAIN) is None


@pytest.mark.fault("T16")
def test_a_picture_that_the_safety_checker_blanked_is_not_called_flat() -> None:
    flagged = SimpleNamespace(nsfw_content_detected=[False, True])
    assert "safety checker" in (problem_of(noise(2, 3, 8, 8) * 0, flagged) or "")


@pytest.mark.parametrize("name", ["images", "frames", "image", "sample"])
def test_the_picture_is_found_under_every_name_that_pipelines_use(name: str) -> None:
    picture = noise(1, 3, 8, 8).requires_grad_()
    found = picture_of(SimpleNamespace(**{name: picture}))
    assert not found.requires_grad
    assert bool((found == picture).all())


def test_a_result_without_a_picture_is_an_error() -> None:
    with pytest.raises(TypeError, match="neither images nor frames"):
        picture_of(SimpleNamespace(audio=1))


@pytest.mark.parametrize("shape", [(1, 3, 5, 7), (2, 3, 5, 7), (1, 4, 3, 5, 7)])
def test_the_first_picture_or_frame_is_saved_as_it_is(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    from PIL import Image

    picture = noise(*shape).bfloat16()
    save_picture(picture, tmp_path / "picture.png")
    first = picture.reshape(-1, 3, 5, 7)[0].float()
    with Image.open(tmp_path / "picture.png") as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (7, 5))
        found = image.getpixel((6, 0))
    assert found == tuple(round(float(value) * 255) for value in first[:, 0, 6])


def test_values_out_of_range_are_clamped_and_do_not_wrap_around(tmp_path: Path) -> None:
    from PIL import Image

    picture = noise(1, 3, 1, 2)
    picture[..., 0], picture[..., 1] = -0.5, 1.5
    save_picture(picture, tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as image:
        assert (image.getpixel((0, 0)), image.getpixel((1, 0))) == ((0, 0, 0), (255, 255, 255))
