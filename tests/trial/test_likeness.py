"""PSNR, SSIM and ꟻLIP of pictures whose likeness is known beforehand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotune.trial.likeness import compare, flip, load_lpips, psnr_db, ssim
from autotune.trial.pictures import Shot

SIDE = 96


def photo(seed: int = 0) -> Any:
    """A picture with large shapes and fine grain, between 40 and 215."""
    lot = np.random.default_rng(seed)
    across, down = np.meshgrid(np.linspace(0, 3, SIDE), np.linspace(0, 2, SIDE))
    shapes = np.stack([np.sin(across), np.cos(down), np.sin(across * down)], axis=-1)
    grain = lot.normal(0, 0.1, shapes.shape)
    return (127 + 80 * np.clip(shapes * 0.9 + grain, -1.1, 1.1)).round().astype(np.uint8)


def flat(*levels: int) -> Any:
    """A picture of one colour."""
    return np.full((SIDE, SIDE, 3), levels, dtype=np.uint8)


def noisy(picture: Any, deviation: float) -> Any:
    noise = np.random.default_rng(1).normal(0, deviation, picture.shape)
    return np.clip(picture + noise, 0, 255).round().astype(np.uint8)


def test_identical_pictures_are_alike_by_every_measure() -> None:
    assert psnr_db(photo(), photo()) is None
    assert ssim(photo(), photo()) == 1.0
    assert flip(photo(), photo()) == 0.0


def test_psnr_follows_from_the_error() -> None:
    assert psnr_db(flat(100, 100, 100), flat(110, 110, 110)) == pytest.approx(
        20 * math.log10(255 / 10)
    )
    # One channel of three: a third of the squared error.
    assert psnr_db(flat(100, 100, 100), flat(110, 100, 100)) == pytest.approx(
        20 * math.log10(255 / 10) + 10 * math.log10(3)
    )
    assert psnr_db(flat(0, 0, 0), flat(255, 255, 255)) == pytest.approx(0.0)


def test_psnr_of_noise_is_that_of_its_variance() -> None:
    # Rounding to whole levels adds a variance of a twelfth.
    expected = 10 * math.log10(255**2 / (8**2 + 1 / 12))
    assert psnr_db(photo(), noisy(photo(), 8)) == pytest.approx(expected, abs=0.2)


def test_ssim_of_two_plain_colours_is_their_ratio_of_brightness() -> None:
    constant = (0.01 * 255) ** 2
    expected = (2 * 100 * 120 + constant) / (100**2 + 120**2 + constant)
    assert ssim(flat(100, 100, 100), flat(120, 120, 120)) == pytest.approx(expected)


def test_ssim_of_a_picture_and_its_weaker_copy_follows_from_the_contrast() -> None:
    pattern = np.indices((SIDE, SIDE)).sum(axis=0) % 2 * 2 - 1
    strong = np.repeat((127 + 100 * pattern)[..., None], 3, axis=-1).astype(np.uint8)
    weak = np.repeat((127 + 50 * pattern)[..., None], 3, axis=-1).astype(np.uint8)
    # A chessboard has one mean and one variance in every window.
    constant = (0.03 * 255) ** 2
    expected = (2 * 100 * 50 + constant) / (100**2 + 50**2 + constant)
    assert ssim(strong, weak) == pytest.approx(expected, abs=1e-3)
    assert ssim(strong, 254 - strong) < -0.9


def test_brightness_alone_decides_ssim_as_its_authors_have_it() -> None:
    # 30 more red is about as much brighter as 15 more green.
    assert ssim(flat(130, 100, 100), flat(100, 115, 100)) > 0.9999
    assert flip(flat(130, 100, 100), flat(100, 115, 100)) > 0.05, "an eye sees it"


def test_more_noise_is_less_alike_by_every_measure() -> None:
    series = [noisy(photo(), deviation) for deviation in (1, 2, 4, 8, 16, 32)]
    for measure, sign in ((psnr_db, -1), (ssim, -1), (flip, 1)):
        values = [sign * (measure(photo(), one) or 0.0) for one in series]
        assert values == sorted(values)
        assert len(set(values)) == len(series)


def test_flip_of_black_and_white_is_near_its_end() -> None:
    assert 0.9 < flip(flat(0, 0, 0), flat(255, 255, 255)) <= 1.0


@pytest.mark.parametrize("shape", [(5, 40, 3), (11, 11, 3), (3, 3, 3)])
def test_pictures_smaller_than_the_window_have_scores_too(shape: tuple[int, ...]) -> None:
    picture = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    assert ssim(picture, picture) == pytest.approx(1.0)
    assert ssim(picture, 255 - picture) < 0.0


def test_only_what_both_sides_have_is_compared_each_with_its_own() -> None:
    reference = {Shot(number): photo(number) for number in range(3)}
    made = {Shot(0): photo(0), Shot(2): noisy(photo(2), 16), Shot(3): photo(3)}
    likeness = compare(reference, made)
    assert likeness is not None
    same, other = likeness.scores
    assert (same.picture, same.frame, same.psnr_db, same.ssim, same.flip) == (0, None, None, 1, 0)
    assert other.picture == 2
    assert other.psnr_db is not None
    assert 20 < other.psnr_db < 30


def test_every_frame_of_a_video_has_its_own_scores_in_order() -> None:
    reference = {Shot(0, frame): photo(frame) for frame in (0, 4, 9)}
    made = {Shot(0, frame): photo(frame) for frame in (9, 4, 0)} | {Shot(0, 4): photo(0)}
    likeness = compare(reference, made)
    assert likeness is not None
    assert [scores.frame for scores in likeness.scores] == [0, 4, 9]
    assert [scores.psnr_db is None for scores in likeness.scores] == [True, False, True]


def test_nothing_in_common_is_no_likeness() -> None:
    assert compare({}, {Shot(0): photo()}) is None
    assert compare({Shot(1): photo()}, {Shot(0): photo()}) is None
    assert compare({Shot(0): photo()[:50]}, {Shot(0): photo()}) is None


def test_lpips_is_left_out_where_its_weights_would_have_to_be_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert load_lpips() is None
    likeness = compare({Shot(0): photo()}, {Shot(0): photo()})
    assert likeness is not None
    assert likeness.scores[0].lpips is None
