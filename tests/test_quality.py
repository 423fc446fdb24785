"""What each ``--quality`` lets pass, and how it says why not."""

from __future__ import annotations

from itertools import pairwise

import pytest

from autotune.quality import PRESETS, judge, least_alike, summed_up, worst
from autotune.records import Fidelity, Likeness, Scores

SAME = Scores(picture=0, psnr_db=None, ssim=1.0, flip=0.0)
FINE = Scores(picture=1, psnr_db=45.0, ssim=0.995, flip=0.02)
GOOD = Scores(picture=2, psnr_db=32.0, ssim=0.95, flip=0.10)
FAIR = Scores(picture=3, psnr_db=21.0, ssim=0.80, flip=0.25)
POOR = Scores(picture=1, psnr_db=12.0, ssim=0.40, flip=0.60)


def likeness(*scores: Scores) -> Likeness:
    return Likeness(scores=scores)


def passes(*scores: Scores) -> set[Fidelity]:
    return {quality for quality in Fidelity if judge(likeness(*scores), quality) is None}


@pytest.mark.parametrize(
    ("scores", "strictest"),
    [
        (SAME, Fidelity.EXACT),
        (FINE, Fidelity.EXACT),
        (GOOD, Fidelity.CLOSE),
        (FAIR, Fidelity.BALANCED),
        (POOR, Fidelity.ANY),
    ],
)
def test_pictures_pass_from_their_own_quality_on(scores: Scores, strictest: Fidelity) -> None:
    assert passes(scores) == {quality for quality in Fidelity if quality.allows(strictest)}


def test_each_quality_asks_for_less_than_the_one_before() -> None:
    presets = [PRESETS[quality] for quality in Fidelity]
    assert presets.pop() is None
    for stricter, laxer in pairwise(presets):
        assert stricter is not None
        assert laxer is not None
        for ours, theirs in ((stricter.median, laxer.median), (stricter.worst, laxer.worst)):
            assert ours.psnr_db > theirs.psnr_db
            assert ours.ssim > theirs.ssim
            assert ours.flip < theirs.flip


def test_one_bad_picture_among_good_ones_is_named() -> None:
    why = judge(likeness(SAME, FINE, GOOD, POOR.but(picture=7)), Fidelity.BALANCED)
    assert why == (
        "pictures differ from the baseline's: SSIM 0.400 in picture 7, balanced asks for 0.600"
    )
    video = likeness(SAME.but(frame=0), POOR.but(picture=0, frame=12), SAME.but(frame=80))
    assert "in frame 12 of picture 0" in (judge(video, Fidelity.BALANCED) or "")


def test_pictures_that_are_all_a_little_off_fail_by_their_median() -> None:
    off = GOOD.but(ssim=0.90)
    assert judge(likeness(off), Fidelity.CLOSE) == (
        "pictures differ from the baseline's: SSIM 0.900 as the median of 1, close asks for 0.920"
    )
    assert judge(likeness(off, GOOD, GOOD), Fidelity.CLOSE) is None


@pytest.mark.parametrize(
    ("change", "named"),
    [({"ssim": 0.5}, "SSIM 0.500"), ({"psnr_db": 15.0}, "PSNR 15.0"), ({"flip": 0.5}, "FLIP 0.5")],
)
def test_every_measure_can_refuse_alone(change: dict[str, float], named: str) -> None:
    assert named in (judge(likeness(FINE.but(**change)), Fidelity.BALANCED) or "")


def test_what_exact_implementations_differ_by_is_not_held_against_a_candidate() -> None:
    noise = likeness(GOOD)
    assert judge(likeness(GOOD), Fidelity.EXACT) is not None
    assert judge(likeness(GOOD), Fidelity.EXACT, noise) is None
    assert judge(likeness(GOOD.but(ssim=0.93, psnr_db=28.0)), Fidelity.EXACT, noise) is None
    assert judge(likeness(FAIR.but(ssim=0.75)), Fidelity.EXACT, noise) == (
        "pictures differ from the baseline's: SSIM 0.750 in picture 3, exact asks for 0.990, "
        "of which noise explains 0.950"
    )


def test_a_model_without_noise_is_judged_by_the_table_alone() -> None:
    assert judge(likeness(GOOD), Fidelity.EXACT, likeness(SAME)) == judge(
        likeness(GOOD), Fidelity.EXACT
    )
    assert judge(likeness(FINE), Fidelity.EXACT, likeness(SAME)) is None


def test_likeness_is_summed_up_in_a_line() -> None:
    assert summed_up(likeness(SAME, SAME)) == "identical in all 2"
    assert summed_up(likeness(SAME, GOOD, FAIR)) == (
        "SSIM 0.950, PSNR 32.0 dB, FLIP 0.100 as the median of 3, 0.800, 21.0 dB, 0.250 at worst"
    )
    assert "PSNR infinite, FLIP 0.000" in summed_up(likeness(SAME, SAME, FINE))
    assert summed_up(likeness(GOOD.but(lpips=0.1), FAIR.but(lpips=0.2))).endswith(
        "at worst, LPIPS 0.200 at worst"
    )
    assert worst(likeness(SAME, POOR, GOOD)) == POOR


def test_of_many_frames_the_least_alike_are_worth_a_look_in_their_order() -> None:
    frames = [GOOD.but(frame=frame, ssim=0.5 + frame % 7 / 20) for frame in range(40)]
    found = least_alike(likeness(*frames))
    assert len(found) == 8
    # The six that are worst of all, and two of the next.
    assert [scores.frame for scores in found] == [0, 1, 7, 8, 14, 21, 28, 35]
    assert least_alike(likeness(GOOD, FAIR)) == (GOOD, FAIR)
