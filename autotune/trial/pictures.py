"""The pictures of a trial that are kept to be compared, as 8 bits a channel: what people see."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

#: Two prompts with two seeds each (design D14), where the workload has two prompts.
MOST_PICTURES = 4
#: Frames of a video, evenly spaced with the first and the last: a defect that is in none of
#: them lasts less than a third of a second in a video of five seconds.
MOST_FRAMES = 16

_NAME = re.compile(r"picture-(\d{1,4})(?:-frame-(\d{1,6}))?\.png")

Pixels = Any
"""Height × width × 3, as unsigned bytes."""


@dataclass(frozen=True)
class Shot:
    """One picture, or one frame of a video, by the number of the generation it is from."""

    picture: int
    frame: int | None = None

    @property
    def name(self) -> str:
        """Its file in a folder of pictures."""
        frame = "" if self.frame is None else f"-frame-{self.frame}"
        return f"picture-{self.picture}{frame}.png"


def shots_of(number: int, made: Any) -> dict[Shot, Pixels]:
    """The first picture, or frames of the first video, that a generation made.

    Args:
        number: Of the generation.
        made: Its pictures as (batch, channels, height, width), or with frames after the batch.
    """
    if number >= MOST_PICTURES:
        return {}
    first = made[0]
    if first.dim() == 3:
        return {Shot(number): _pixels(first)}
    last = len(first) - 1
    wanted = np.linspace(0, last, min(last + 1, MOST_FRAMES)).round().astype(int)
    return {Shot(number, int(frame)): _pixels(first[int(frame)]) for frame in wanted}


def write_shots(folder: Path, shots: Mapping[Shot, Pixels]) -> None:
    """Write pictures as PNG files; earlier ones of the same names are replaced."""
    from PIL import Image

    folder.mkdir(exist_ok=True)
    for shot, pixels in shots.items():
        # The quickest compression: these files are many and need not be small.
        Image.fromarray(pixels).save(folder / shot.name, compress_level=1)


def read_shots(folder: Path) -> dict[Shot, Pixels]:
    """Read what was written; empty where nothing was."""
    from PIL import Image

    found = {}
    for shot, path in _listed(folder):
        with Image.open(path) as image:
            found[shot] = np.asarray(image.convert("RGB"))
    return found


def _listed(folder: Path) -> Iterator[tuple[Shot, Path]]:
    for path in folder.glob("picture-*.png"):
        match = _NAME.fullmatch(path.name)
        if match is not None:
            frame = None if match[2] is None else int(match[2])
            yield Shot(int(match[1]), frame), path


def _pixels(picture: Any) -> Pixels:
    eight_bits = (picture.float().clamp(0, 1) * 255).round().byte()
    return eight_bits.permute(1, 2, 0).contiguous().numpy()
