"""Pictures to look at: the winner's beside the baseline's, what differs, and a contact sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.files import make_private, open_private
from autotune.quality import least_alike, named
from autotune.records import Likeness, Scores
from autotune.trial.pictures import Shot

if TYPE_CHECKING:
    from PIL.Image import Image

SHEET = "contact-sheet.png"
#: Differences are shown so many times as large: what is below a level of 255 is black.
_TIMES = 8
#: Pixels: the width of a picture on the sheet, and around it.
_WIDTH, _GAP, _LINE = 384, 12, 20
#: Half the size would take five times as long.
_FAST = 1
_PAPER, _INK = (255, 255, 255), (20, 20, 20)
_KINDS = ("baseline", "winner", f"{_TIMES} times the difference")


def write_showcase(
    folder: Path, reference: Path, winner: Path, likeness: Likeness, title: Sequence[str]
) -> Path | None:
    """Write the pictures of a winner and a sheet with all of them.

    Args:
        folder: Where to; what is there is replaced.
        reference: The folder of the baseline's pictures.
        winner: The folder of the winner's trial.
        likeness: Of the pictures in both.
        title: What stands above them, in lines.

    Returns:
        The contact sheet, or ``None`` where there are no pictures.
    """
    rows: dict[Scores, list[Image]] = {}
    for scores in least_alike(likeness):
        name = Shot(scores.picture, scores.frame).name
        found = _open(reference / name), _open(winner / name)
        if found[0] is not None and found[1] is not None:
            rows[scores] = [found[0], found[1], _difference(found[0], found[1])]
    if not rows:
        return None
    make_private(folder, exist_ok=True)
    for scores, pictures in rows.items():
        for kind, picture in zip(("baseline", "winner", "difference"), pictures, strict=True):
            name = Shot(scores.picture, scores.frame).name
            _save(picture, folder / name.replace(".png", f"-{kind}.png"))
    sheet = folder / SHEET
    _save(_sheet(rows, title), sheet)
    return sheet


def _save(picture: Image, path: Path) -> None:
    with open(path, "wb", opener=open_private) as file:
        picture.save(file, "PNG", compress_level=_FAST)


def _open(path: Path) -> Image | None:
    import PIL.Image

    try:
        with PIL.Image.open(path) as image:
            return image.convert("RGB")
    except OSError:
        return None


def _difference(reference: Image, winner: Image) -> Image:
    from PIL import ImageChops

    return ImageChops.difference(reference, winner).point(lambda level: min(255, _TIMES * level))


def _sheet(rows: Mapping[Scores, Sequence[Image]], title: Sequence[str]) -> Image:
    import PIL.Image
    from PIL import ImageDraw, ImageFont

    first = next(iter(rows.values()))[0]
    wide = _WIDTH
    high = max(1, round(first.height * wide / first.width))
    top = _GAP + _LINE * (len(title) + 1)
    row = high + _LINE + _GAP
    size = (_GAP + len(_KINDS) * (wide + _GAP), top + len(rows) * row + _GAP)
    sheet = PIL.Image.new("RGB", size, _PAPER)
    draw: Any = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14)
    for number, line in enumerate(title):
        draw.text((_GAP, _GAP + number * _LINE), line, fill=_INK, font=font)
    for column, kind in enumerate(_KINDS):
        across = _GAP + column * (wide + _GAP)
        draw.text((across, top - _LINE), kind, fill=_INK, font=font)
        for place, (scores, pictures) in enumerate(rows.items()):
            down = top + place * row
            sheet.paste(pictures[column].resize((wide, high)), (across, down))
            if column == 0:
                draw.text((across, down + high + 2), _caption(scores), fill=_INK, font=font)
    return sheet


def _caption(scores: Scores) -> str:
    if scores.psnr_db is None:
        return f"{named(scores)}: identical"
    return (
        f"{named(scores)}: SSIM {scores.ssim:.3f}, PSNR {scores.psnr_db:.1f} dB, "
        f"FLIP {scores.flip:.3f}"
    )
