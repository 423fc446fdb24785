"""Is what came out a picture? Checked on the floats, before a cast hides a NaN as black."""

from __future__ import annotations

from pathlib import Path
from typing import Any

#: Half a step of an 8-bit channel: below it the file would hold one colour.
FLAT_DEVIATION = 0.5 / 255


def picture_of(result: Any) -> Any:
    """The generated pictures or frames of a pipeline's result, on the host, in its own dtype."""
    for name in ("images", "frames", "image", "sample"):
        if hasattr(result, name):
            return getattr(result, name).detach().cpu()
    raise TypeError(f"{type(result).__name__} holds neither images nor frames")


def problem_of(picture: Any, result: Any, size: tuple[int, int] | None = None) -> str | None:
    """Why the output is not acceptable, or ``None``; ``size`` is the height and width wanted."""
    import torch

    if any(getattr(result, "nsfw_content_detected", None) or ()):
        return "the pipeline's safety checker blanked the picture: choose another prompt"
    made = tuple(int(side) for side in picture.shape[-2:])
    if size is not None and made != size:
        return f"the picture is {made[1]}×{made[0]}, not {size[1]}×{size[0]}"
    values = picture.float()
    if not bool(torch.isfinite(values).all()):
        share = 1 - float(torch.isfinite(values).float().mean())
        return f"{share:.0%} of the picture is NaN or infinite"
    if float(values.std()) < FLAT_DEVIATION:
        return f"the picture is flat (standard deviation {float(values.std()):.2g})"
    return None


def save_picture(picture: Any, path: Path) -> None:
    """Save the first picture, or the first frame of the first video, as PNG."""
    from PIL import Image

    first = picture.float()
    while first.dim() > 3:
        first = first[0]
    pixels = (first.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous()
    height, width, _ = pixels.shape
    Image.frombytes("RGB", (width, height), pixels.numpy().tobytes()).save(path)
