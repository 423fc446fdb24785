"""How like two pictures are: PSNR, SSIM and ꟻLIP, each on the 8 bits a channel that are seen.

LPIPS too, where the package and its weights are on this machine already.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from autotune.records import Likeness, Scores
from autotune.trial.pictures import Pixels, Shot

_WHITE = 255.0
#: Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity",
#: section III-C: a Gaussian window of 11 pixels and deviation 1.5, and the two constants.
_WINDOW, _DEVIATION = 11, 1.5
_C1, _C2 = (0.01 * _WHITE) ** 2, (0.03 * _WHITE) ** 2
#: Brightness as their program takes it, by ITU-R BT.601.
_LUMA = (0.299, 0.587, 0.114)
#: What torchvision calls the weights under LPIPS, which it would download (Zhang et al. 2018:
#: AlexNet is the variant for comparing pictures).
_ALEXNET = "alexnet-owt-7be5be79.pth"


def compare(reference: Mapping[Shot, Pixels], made: Mapping[Shot, Pixels]) -> Likeness | None:
    """Score every picture that both have in one size; ``None`` if there is none."""
    lpips = load_lpips()
    scores = tuple(
        scored(shot, reference[shot], made[shot], lpips)
        for shot in sorted(reference.keys() & made.keys(), key=_order)
        if reference[shot].shape == made[shot].shape
    )
    return Likeness(scores=scores) if scores else None


def scored(shot: Shot, reference: Pixels, made: Pixels, lpips: Any = None) -> Scores:
    """All scores of one picture."""
    return Scores(
        picture=shot.picture,
        frame=shot.frame,
        psnr_db=psnr_db(reference, made),
        ssim=ssim(reference, made),
        flip=flip(reference, made),
        lpips=None if lpips is None else _lpips(lpips, reference, made),
    )


def psnr_db(reference: Pixels, made: Pixels) -> float | None:
    """Peak signal to noise over all three channels; ``None`` if the pictures are identical."""
    error = float(np.mean((reference.astype(np.float32) - made.astype(np.float32)) ** 2))
    return 10 * math.log10(_WHITE**2 / error) if error else None


def ssim(reference: Pixels, made: Pixels) -> float:
    """Structural similarity of the brightness: 1 for identical pictures.

    Only where the whole window lies inside the picture, as its authors do; without their scaling
    down of large pictures, so that small defects count.
    """
    ours, theirs = _luma(made), _luma(reference)
    mean, reference_mean = _blurred(ours), _blurred(theirs)
    variance = _blurred(ours * ours) - mean * mean
    reference_variance = _blurred(theirs * theirs) - reference_mean * reference_mean
    covariance = _blurred(ours * theirs) - mean * reference_mean
    above = (2 * mean * reference_mean + _C1) * (2 * covariance + _C2)
    below = (mean * mean + reference_mean * reference_mean + _C1) * (
        variance + reference_variance + _C2
    )
    return max(-1.0, min(1.0, float((above / below).mean())))


def flip(reference: Pixels, made: Pixels) -> float:
    """Mean ꟻLIP: what an eye notices when it flips between the pictures; 0 for identical ones.

    Andersson et al. 2020, seen as its authors assume: a 4K monitor of 0.7 m at 0.7 m.
    """
    import flip_evaluator

    _, mean, _ = flip_evaluator.evaluate(
        reference.astype(np.float32) / _WHITE,
        made.astype(np.float32) / _WHITE,
        "LDR",
        applyMagma=False,
    )
    return max(0.0, min(1.0, float(mean)))


def load_lpips() -> Any:
    """The model of LPIPS, or ``None`` where it, or its weights, would have to be downloaded."""
    import torch

    weights = Path(torch.hub.get_dir(), "checkpoints", _ALEXNET)
    if find_spec("lpips") is None or not weights.exists():
        return None
    import lpips

    return lpips.LPIPS(net="alex", verbose=False)


def _lpips(model: Any, reference: Pixels, made: Pixels) -> float:
    import torch

    def tensor(pixels: Pixels) -> Any:
        # Its range is from -1 to 1.
        values = torch.from_numpy(np.array(pixels)).float() / _WHITE * 2 - 1
        return values.permute(2, 0, 1)[None]

    with torch.inference_mode():
        return max(0.0, float(model(tensor(reference), tensor(made))))


def _luma(pixels: Pixels) -> Any:
    # In double precision: variances are small differences of large squares.
    return pixels.astype(np.float64) @ np.array(_LUMA)


def _blurred(values: Any) -> Any:
    """The Gaussian mean around every pixel whose window lies inside."""
    for _ in range(2):  # down the columns, then, turned over, along the rows
        length = min(_WINDOW, len(values))
        places = np.arange(length) - (length - 1) / 2
        weights = np.exp(-(places**2) / (2 * _DEVIATION**2))
        left = len(values) - length + 1
        parts = (weight * values[at : at + left] for at, weight in enumerate(weights))
        values = (sum(parts) / weights.sum()).T
    return values


def _order(shot: Shot) -> tuple[int, int]:
    return shot.picture, -1 if shot.frame is None else shot.frame
