"""What is kept of the pictures of a trial, and that it comes back as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotune.trial.pictures import (
    MOST_FRAMES,
    MOST_PICTURES,
    Shot,
    read_shots,
    shots_of,
    write_shots,
)


def noise(*shape: int) -> Any:
    import torch

    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def test_the_first_picture_of_a_batch_is_kept_in_eight_bits() -> None:
    made = noise(2, 3, 5, 7)
    made[0, 0, 0, 0], made[0, 1, 0, 0] = -0.5, 1.5
    ((shot, pixels),) = shots_of(1, made.bfloat16()).items()
    assert shot == Shot(1)
    assert (pixels.shape, pixels.dtype) == ((5, 7, 3), np.uint8)
    assert tuple(pixels[0, 0, :2]) == (0, 255)
    expected = (made.bfloat16().float()[0, 2, 4, 6] * 255).round()
    assert pixels[4, 6, 2] == int(expected)


@pytest.mark.parametrize(("frames", "kept"), [(1, 1), (5, 5), (16, 16), (81, 16)])
def test_of_a_video_frames_are_kept_from_the_first_to_the_last(frames: int, kept: int) -> None:
    made = noise(1, frames, 3, 4, 4)
    shots = shots_of(0, made)
    numbers = [shot.frame or 0 for shot in shots]
    assert len(numbers) == kept <= MOST_FRAMES
    assert numbers == sorted(set(numbers))
    assert (numbers[0], numbers[-1]) == (0, frames - 1)
    steps = np.diff(numbers)
    assert frames == 1 or steps.max() - steps.min() <= 1
    last = (made[0, -1] * 255).round().byte().permute(1, 2, 0).numpy()
    assert (shots[Shot(0, frames - 1)] == last).all()


def test_later_pictures_are_not_kept() -> None:
    assert shots_of(MOST_PICTURES - 1, noise(1, 3, 4, 4))
    assert shots_of(MOST_PICTURES, noise(1, 3, 4, 4)) == {}


def test_what_is_written_is_read_back_to_the_last_bit(tmp_path: Path) -> None:
    shots = shots_of(0, noise(1, 3, 9, 5)) | shots_of(1, noise(1, 3, 3, 8, 8))
    folder = tmp_path / "reference"
    write_shots(folder, shots)
    (folder / "picture-one.png").write_bytes(b"not ours")
    found = read_shots(folder)
    assert found.keys() == shots.keys() == {Shot(0), Shot(1, 0), Shot(1, 1), Shot(1, 2)}
    assert all((found[shot] == shots[shot]).all() for shot in shots)
    write_shots(folder, shots_of(0, 1 - noise(1, 3, 9, 5)))
    assert not (read_shots(folder)[Shot(0)] == shots[Shot(0)]).all(), "it was replaced"


def test_a_folder_that_was_never_written_holds_no_pictures(tmp_path: Path) -> None:
    assert read_shots(tmp_path / "nowhere") == {}
