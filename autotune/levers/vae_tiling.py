"""vae-tiling: decode the picture in overlapping tiles, for less memory and faint seams.

Tile sizes follow the picture: a class default of the training size does nothing at that size
(levers.md A6), and some classes accept the flag and never read it, so the tiles are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autotune.levers.base import ChoiceMaker, ModelView, Target
from autotune.levers.plan import Plan
from autotune.levers.script import Script, Untold, call
from autotune.records import Choice, Device, Evidence, Fidelity, Stage, Workload

name = "vae-tiling"
what = "decode the picture in tiles"
stage = Stage.BUILD

_SHARE = {"half": 0.5, "quarter": 0.25}
#: Smaller tiles are mostly overlap: 8 latent pixels keep 6 of their own.
_SMALLEST_LATENT_TILE = 8
#: By class: whether tiles are squares, and where it says how many pixels a latent pixel is wide.
_BLOCKS = "2 ** (len(pipe.vae.config.block_out_channels) - 1)"
_RATIO = "pipe.vae.spatial_compression_ratio"
_WIDTHS = {
    **dict.fromkeys(("AutoencoderKL", "AutoencoderKLFlux2"), (True, _BLOCKS)),
    "AutoencoderKLHunyuanImage": (True, "pipe.vae.config.spatial_compression_ratio"),
    **dict.fromkeys(
        (
            *("AutoencoderDC", "AutoencoderKLHunyuanVideo", "AutoencoderKLLTXVideo"),
            *("AutoencoderKLMochi", "AutoencoderKLQwenImage", "AutoencoderKLWan"),
        ),
        (False, _RATIO),
    ),
}


def choices(device: Device, view: ModelView | None) -> Sequence[Choice]:
    """Off, or tiles of a half or a quarter of the picture's side."""
    choice = ChoiceMaker(lever=name)
    return (
        choice("off", "one piece", baseline=True),
        *(
            choice(
                id,
                f"tiles of a {id} of the side",
                unless=_problem(view, share) if view else None,
                fidelity=Fidelity.CLOSE,
            )
            for id, share in _SHARE.items()
        ),
    )


def apply(target: Target, choice: str) -> None:
    """Switch tiling and set the tile size where the class lets it be set."""
    vae = target.vae
    if choice == "off":
        if vae is not None and getattr(vae, "use_tiling", False):
            vae.disable_tiling()
        return
    scale = _scale(vae)
    height, width = (side * scale for side in latent_tile(vae, target.workload, choice))
    if hasattr(vae, "tile_sample_min_size"):
        vae.tile_sample_min_size = height
        vae.tile_latent_min_size = height // scale
    else:
        # A quarter of overlap, which is what these classes ship with.
        vae.tile_sample_min_height, vae.tile_sample_min_width = height, width
        vae.tile_sample_stride_height = height * 3 // 4
        vae.tile_sample_stride_width = width * 3 // 4
    # Only now: some classes derive from the sizes, when switched on, what they then compare with.
    vae.enable_tiling()


def latent_tile(vae: Any, workload: Workload, choice: str) -> tuple[int, int]:
    """Height and width of a tile in latent pixels; the next begins at three quarters of it."""
    scale = _scale(vae)
    height, width = (
        _latent_side(side, choice, scale) for side in (workload.height, workload.width)
    )
    # Classes with one size make squares.
    return (min(height, width),) * 2 if hasattr(vae, "tile_sample_min_size") else (height, width)


def engaged(target: Target, choice: str) -> Evidence:
    """No call of the decoder made more than its share of the width."""
    seen = target.seen.get("vae.decoder")
    if choice == "off":
        return Evidence(engaged=True, detail="one piece")
    if seen is None:
        flag = bool(getattr(target.vae, "use_tiling", False))
        return Evidence(engaged=flag, detail="flag set, nothing generated yet")
    widest = seen.widest_output[-1] if seen.widest_output else 0
    return Evidence(
        engaged=seen.calls > 1 and 0 < widest <= target.workload.width * _SHARE[choice],
        detail=f"{seen.calls} decoder calls, widest {widest} of {target.workload.width} pixels",
    )


def code(script: Script, choice: str) -> Script:
    """Tile sizes of the picture's, and the switch.

    Raises:
        Untold: If it is not known how the VAE's class says how wide its latent pixels are.
    """
    if choice == "off":
        return script
    kind = script.class_of("vae")
    if kind not in _WIDTHS:
        raise Untold(f"it is not known how {kind} sizes its tiles")
    square, ratio = _WIDTHS[kind]
    script = script.then(f"scale = {ratio}  # pixels of a latent pixel")
    sides = {"height": script.workload.height, "width": script.workload.width}
    if square:
        script = script.then(
            f"pipe.vae.tile_latent_min_size = {_side(min(sides.values()), choice)}",
            "pipe.vae.tile_sample_min_size = scale * pipe.vae.tile_latent_min_size",
        )
    else:
        for side, pixels in sides.items():
            tile = f"pipe.vae.tile_sample_min_{side}"
            script = script.then(
                f"{tile} = scale * {_side(pixels, choice)}",
                f"pipe.vae.tile_sample_stride_{side} = {tile} * 3 // 4",
            )
    return script.then(call("pipe.vae.enable_tiling"))


def _side(pixels: int, choice: str) -> str:
    """As `_latent_side`."""
    return f"max({_SMALLEST_LATENT_TILE}, {int(pixels * _SHARE[choice])} // scale // 4 * 4)"


def plan(plan: Plan, choice: str) -> Plan:
    """A tile at a time."""
    return plan.but(tiling=choice)


def _problem(view: ModelView, share: float) -> str | None:
    vae = view.module("vae")
    if vae is None:
        return "the pipeline has no VAE"
    kind = type(vae).__name__
    try:
        vae.enable_tiling()
    except (AttributeError, NotImplementedError):
        return f"{kind} cannot decode in tiles"
    if not hasattr(vae, "tile_sample_min_size") and not hasattr(vae, "tile_sample_min_width"):
        return f"{kind} does not let the tile size be set"
    if hasattr(vae, "tile_overlap_factor_height"):
        # CogVideoX overlaps by 1/6 and 1/5: tiles of other sizes make a picture of another size.
        return f"{kind} makes whole pictures only with its own tile size"
    side = min(view.workload.height, view.workload.width)
    if side * share < _SMALLEST_LATENT_TILE * _scale(vae):
        return f"tiles of {side * share:.0f} pixels would be mostly overlap"
    return None


def _latent_side(pixels: int, choice: str, scale: int) -> int:
    """Latent pixels on a tile's side; a multiple of four, so that a quarter overlaps exactly.

    Otherwise diffusers rounds steps and tiles differently, and the picture gets another size.
    """
    latent = int(pixels * _SHARE[choice]) // scale // 4 * 4
    return max(_SMALLEST_LATENT_TILE, latent)


def _scale(vae: Any) -> int:
    """Pixels per latent pixel."""
    ratio = getattr(vae, "spatial_compression_ratio", None)
    if isinstance(ratio, int) and ratio > 0:
        return ratio
    blocks = getattr(vae.config, "block_out_channels", None) or (0,) * 4
    return int(2 ** (len(blocks) - 1))
