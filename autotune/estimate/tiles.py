"""A decode in tiles, from the decode of one: how diffusers cuts, blends and puts together."""

from __future__ import annotations

from itertools import product

from autotune.estimate.profile import Call, Work

#: Copies of the picture beside its tiles: blended rows, the whole, and that clamped (counted for
#: Wan, diffusers 0.42.1: 4.7 pictures where tiles make 1.7).
_PUT_TOGETHER = 3
#: A line of a seam is two products, their sum and a copy (`blend_v` of AutoencoderKL).
_LINE = 4


def tiled_call(
    *, one: Call, whole: Call, latents: tuple[int, int], tile: tuple[int, int], scale: int
) -> Call:
    """The call that decodes everything in tiles.

    Args:
        one: The call that decodes one tile of full size.
        whole: The call that decodes everything in one piece.
        latents: Height and width of everything, in latent pixels.
        tile: Those of a tile; the next one begins at three quarters of it.
        scale: Pixels per latent pixel.
    """
    rows, columns = (_cut(*sides) for sides in zip(latents, tile, strict=True))
    # Tiles at the far edges are smaller: what counts is how often a pixel is decoded.
    times = sum(rows) * sum(columns) / (tile[0] * tile[1])
    lines = len(columns) * _seams(rows, tile[0]) + len(rows) * _seams(columns, tile[1])
    work = Work(
        linear=one.work.linear * times,
        convolution=one.work.convolution * times,
        attention=one.work.attention * times,
        moved_bytes=one.work.moved_bytes * times,
        operations=one.work.operations * len(rows) * len(columns) + lines * scale * _LINE,
    )
    narrow, other, kept = 0.0, 0.0, 0.0
    for height, width in product(rows, columns):
        share = height * width / (tile[0] * tile[1])
        if share * (one.narrow_bytes + one.other_bytes) + kept > narrow + other:
            narrow, other = share * one.narrow_bytes + kept, share * one.other_bytes
        kept += whole.output_bytes * height * width / (latents[0] * latents[1])
    # Tiles are kept until the last one is there, and are then blended and put together.
    together = kept + _PUT_TOGETHER * whole.output_bytes
    if together > narrow + other:
        narrow, other = together, 0.0
    return one.but(
        work=work,
        narrow_bytes=round(narrow),
        other_bytes=round(other),
        output_bytes=whole.output_bytes,
    )


def _cut(side: int, tile: int) -> list[int]:
    step = max(1, tile * 3 // 4)
    return [min(tile, side - start) for start in range(0, side, step)]


def _seams(cut: list[int], tile: int) -> int:
    """Over how many latent pixels the tiles of a row are blended with those before them."""
    overlap = tile - max(1, tile * 3 // 4)
    return sum(min(overlap, one) for one in cut[1:])
