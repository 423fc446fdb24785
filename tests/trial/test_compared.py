"""The baseline's pictures are kept, and those of others compared with them, one to one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autotune.records import Effort, Outcome
from autotune.search.request import STANDARD
from autotune.status import Status
from autotune.trial.pictures import MOST_PICTURES, Shot, read_shots
from tests.trial.bench import SMALL, fitted

pytestmark = pytest.mark.trials

Runs = Callable[..., tuple[Outcome, Path]]
TWO_PROMPTS = SMALL.but(prompts=("a red circle", "a green square"))
#: A screen without the samples that only make its time more certain.
BRIEF = Effort(name="test", warmups=1, samples=1)


def test_a_confirmation_is_compared_with_every_picture_of_the_baseline(
    run_in_child: Runs, tmp_path: Path
) -> None:
    place = {"reference": str(tmp_path / "reference"), "workload": TWO_PROMPTS}
    baseline, folder = run_in_child(purpose="baseline", effort=STANDARD.screen, **place)
    assert baseline.status is Status.MEASURED, baseline.message
    assert baseline.likeness is None
    kept = read_shots(tmp_path / "reference")
    assert kept.keys() == {Shot(number) for number in range(MOST_PICTURES)}
    assert not list(folder.glob("picture-*")), "once is enough"
    same, folder = run_in_child(
        purpose="confirm", effort=STANDARD.confirm, budget_bytes=2 << 30, **place
    )
    assert same.likeness is not None
    # Two prompts with two seeds each: one picture more than it has samples and observed calls.
    assert [scores.picture for scores in same.likeness.scores] == [0, 1, 2, 3]
    assert all(scores.psnr_db is None for scores in same.likeness.scores)
    assert all((read_shots(folder)[shot] == kept[shot]).all() for shot in kept)
    other, _ = run_in_child(choices={"dtype": "bf16"}, effort=STANDARD.screen, **place)
    assert other.likeness is not None
    scores = other.likeness.scores
    assert all(one.psnr_db is not None and one.psnr_db > 20 for one in scores)
    assert len({one.psnr_db for one in scores}) == len(scores), "each picture has its own"


@pytest.mark.fault("T17")
def test_another_picture_is_seen_to_be_one(run_in_child: Runs, tmp_path: Path) -> None:
    place = {"reference": str(tmp_path / "reference"), "effort": BRIEF}
    run_in_child(purpose="baseline", **place)
    other, _ = run_in_child(workload=SMALL.but(seed=100), **place)
    assert other.likeness is not None
    assert max(scores.ssim for scores in other.likeness.scores) < 0.6


@pytest.mark.parametrize("model", ["sd15", "flux", "wan"])
def test_the_first_picture_is_the_same_however_many_are_made_at_once(
    run_in_child: Runs, tmp_path: Path, model: str
) -> None:
    place = {
        "model": model,
        "reference": str(tmp_path / "reference"),
        "workload": fitted(model, SMALL),
        "effort": BRIEF,
    }
    run_in_child(purpose="baseline", choices={"dtype": "fp32"}, **place)
    more, _ = run_in_child(choices={"dtype": "fp32", "batch": "x2"}, **place)
    assert more.status is Status.MEASURED, more.message
    assert more.likeness is not None
    assert all(one.psnr_db is None or one.psnr_db > 45 for one in more.likeness.scores)
    frames = {scores.frame for scores in more.likeness.scores}
    assert frames == ({0, 1, 2, 3, 4} if model == "wan" else {None})


def test_without_a_baseline_there_is_nothing_to_compare_with(
    run_in_child: Runs, tmp_path: Path
) -> None:
    alone, _ = run_in_child(reference=str(tmp_path / "reference"), effort=BRIEF)
    assert alone.status is Status.MEASURED
    assert alone.likeness is None


def test_a_broken_picture_is_not_compared_and_never_becomes_the_reference(
    run_in_child: Runs, tmp_path: Path
) -> None:
    place = {"reference": str(tmp_path / "reference"), "effort": BRIEF}
    broken, _ = run_in_child("nan", purpose="baseline", **place)
    assert broken.status is Status.BAD_OUTPUT
    assert not (tmp_path / "reference").exists()
