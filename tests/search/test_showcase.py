"""The pictures that are written for people: what lies where, and what the sheet shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autotune.search.showcase import SHEET, write_showcase
from autotune.trial.likeness import compare
from autotune.trial.pictures import Pixels, Shot, read_shots, write_shots

TITLE = ("a model", "dtype=fp16")


def picture(seed: int, side: int = 48) -> Pixels:
    return np.random.default_rng(seed).integers(0, 200, (side, side, 3), dtype=np.uint8)


def shown(folder: Path, reference: dict[Shot, Pixels], winner: dict[Shot, Pixels]) -> Path | None:
    for name, shots in (("reference", reference), ("winner", winner)):
        write_shots(folder / name, shots)
    likeness = compare(reference, winner)
    assert likeness is not None
    places = folder / "reference", folder / "winner"
    return write_showcase(folder / "shown", *places, likeness=likeness, title=TITLE)


def pixels(path: Path) -> Pixels:
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image)


def test_each_picture_lies_beside_the_baselines_and_their_difference(tmp_path: Path) -> None:
    reference = {Shot(0): picture(0), Shot(1): picture(1)}
    winner = {Shot(0): picture(0) + 5, Shot(1): picture(1)}
    sheet = shown(tmp_path, reference, winner)
    assert sheet == tmp_path / "shown" / SHEET
    names = {path.name for path in sheet.parent.iterdir()} - {SHEET}
    kinds = ("baseline", "winner", "difference")
    assert names == {f"picture-{number}-{kind}.png" for number in (0, 1) for kind in kinds}
    assert (pixels(sheet.parent / "picture-0-baseline.png") == reference[Shot(0)]).all()
    assert (pixels(sheet.parent / "picture-0-winner.png") == winner[Shot(0)]).all()
    assert (pixels(sheet.parent / "picture-0-difference.png") == 8 * 5).all()
    assert not pixels(sheet.parent / "picture-1-difference.png").any()


def test_the_sheet_has_a_row_for_each_picture_and_a_column_for_each_kind(tmp_path: Path) -> None:
    black, white = np.zeros((40, 40, 3), np.uint8), np.full((40, 40, 3), 255, np.uint8)
    sheet = shown(tmp_path, {Shot(0): black, Shot(1): white}, {Shot(0): white, Shot(1): white})
    assert sheet is not None
    found = pixels(sheet)
    height, width, _ = found.shape
    # Columns of the baseline, the winner and the difference; the upper row, then the lower.
    middles = [width // 6, width // 2, width * 5 // 6]
    upper, lower = height // 3, height * 5 // 6
    assert [int(found[upper, at, 0]) for at in middles] == [0, 255, 255]
    assert [int(found[lower, at, 0]) for at in middles] == [255, 255, 0]


def test_of_a_video_only_the_frames_that_are_least_alike_are_shown(tmp_path: Path) -> None:
    reference = {Shot(0, frame): picture(frame) for frame in range(16)}
    noise = np.random.default_rng(99)
    winner = {
        shot: np.clip(one + noise.normal(0, 1 + (shot.frame or 0), one.shape), 0, 255).astype(
            np.uint8
        )
        for shot, one in reference.items()
    }
    sheet = shown(tmp_path, reference, winner)
    assert sheet is not None
    shown_frames = {path.name for path in sheet.parent.glob("*-winner.png")}
    assert shown_frames == {f"picture-0-frame-{frame}-winner.png" for frame in range(8, 16)}


@pytest.mark.parametrize("lost", ["reference", "winner"])
def test_without_the_files_there_is_no_sheet(tmp_path: Path, lost: str) -> None:
    shots = {Shot(0): picture(0)}
    likeness = compare(shots, shots)
    assert likeness is not None
    kept = {"reference", "winner"} - {lost}
    write_shots(tmp_path / kept.pop(), shots)
    places = tmp_path / "reference", tmp_path / "winner"
    assert write_showcase(tmp_path / "shown", *places, likeness=likeness, title=TITLE) is None
    assert read_shots(tmp_path / "shown") == {}
    assert not (tmp_path / "shown").exists()
