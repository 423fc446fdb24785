"""The quality gate: what makes pictures too unlike the baseline's never wins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import NoResult
from autotune.recipe.read import read_recipe
from autotune.recipe.schema import Recipe
from autotune.records import Choice, Fidelity, Likeness, Outcome, Scores, TrialSpec
from autotune.search.definition import Definition
from autotune.search.request import STANDARD
from autotune.search.study import Result
from autotune.status import Status
from tests.search.factory import BASELINE, LEVERS, make_choices, make_model
from tests.search.studies import FP16, study
from tests.search.table_engine import Answer, TableEngine, World

#: fp16 is twice as fast, and nothing else changes much.
WORLD = World(effects={"dtype=fp16": (0.5, 1.0)}, noise=0.003)
#: So slow, with so many steps, that screens leave some out.
LONG = World(latency_s=4.0, effects={"dtype=fp16": (0.5, 1.0)}, noise=0.003)
REAL = make_model(weights="real")
REAL_LONG = make_model(weights="real", workload=REAL.workload.but(steps=28))
#: SSIM of pictures, by choice.
Looks = Mapping[str, float]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNE_CACHE", str(tmp_path / "cache"))


def likeness(ssim: float) -> Likeness:
    same = Scores(picture=0, psnr_db=None, ssim=1.0, flip=0.0)
    off = Scores(picture=1, psnr_db=10 + 40 * ssim, ssim=ssim, flip=1 - ssim)
    return Likeness(scores=(same, off if ssim < 1 else same.but(picture=1)))


def seen(world: World, looks: Looks) -> Answer:
    """The world, whose trials compare pictures where they are told with which."""

    def answer(spec: TrialSpec) -> Outcome:
        outcome = world(spec)
        if spec.reference is None or spec.purpose == "baseline":
            return outcome
        chosen = (looks.get(f"{lever}={id}", 1.0) for lever, id in spec.choices.items())
        return outcome.but(likeness=likeness(min(chosen)))

    return answer


def choices(*inexact: str) -> tuple[Choice, ...]:
    return tuple(
        one.but(fidelity=Fidelity.BALANCED) if f"{one.lever}={one.id}" in inexact else one
        for one in make_choices()
    )


def run(
    folder: Path, looks: Looks, world: World = WORLD, **changes: Any
) -> tuple[Result, TableEngine]:
    asked = {"model": REAL, "quality": Fidelity.BALANCED, "trials": 27} | changes
    result, engine, _ = study(folder, seen(world, looks), **asked)
    return result, engine


def recipe_of(result: Result) -> Recipe:
    assert result.recipe_path is not None
    return read_recipe(result.recipe_path)


def purposes(engine: TableEngine) -> Callable[[str], int]:
    return [spec.purpose for spec in engine.specs].count


def test_what_looks_like_the_baseline_wins_and_the_recipe_says_by_how_much(tmp_path: Path) -> None:
    result, _ = run(tmp_path, {"dtype=fp16": 0.97})
    recipe = recipe_of(result)
    assert recipe.choices == FP16
    quality = recipe.evidence.quality
    assert (quality.fidelity, quality.asked) == ("assessed", Fidelity.BALANCED)
    assert quality.likeness == likeness(0.97)
    assert quality.why.startswith("balanced was asked for: SSIM 0.985")


@pytest.mark.fault("T17")
def test_what_looks_otherwise_is_refused_in_the_search_with_its_scores(tmp_path: Path) -> None:
    result, engine = run(tmp_path, {"dtype=fp16": 0.5})
    recipe = recipe_of(result)
    assert recipe.choices["dtype"] != "fp16"
    assert FP16 not in engine.tried("confirm")
    (refused,) = [one for one in recipe.refused if one.choices == FP16]
    assert refused.status is Status.BAD_OUTPUT
    assert refused.reason == (
        "pictures differ from the baseline's: SSIM 0.500 in picture 1, balanced asks for 0.600"
    )
    assert refused.latency_s == pytest.approx(0.5, rel=0.05), "it is told what it would have been"


@pytest.mark.fault("T17")
@pytest.mark.parametrize("quality", list(Fidelity))
def test_the_quality_decides(tmp_path: Path, quality: Fidelity) -> None:
    result, _ = run(tmp_path, {"dtype=fp16": 0.8}, quality=quality)
    passes = quality.allows(Fidelity.BALANCED)
    assert (recipe_of(result).choices == FP16) is passes


def test_a_search_space_that_bounds_the_quality_bounds_the_gate(tmp_path: Path) -> None:
    strict = Definition(levers=dict.fromkeys(LEVERS, "all"), quality=Fidelity.EXACT)
    result, _ = run(tmp_path, {"dtype=fp16": 0.9}, definition=strict)
    recipe = recipe_of(result)
    assert recipe.choices["dtype"] != "fp16"
    assert recipe.evidence.quality.asked is Fidelity.EXACT


def test_with_random_weights_nothing_is_refused_and_nothing_assessed(tmp_path: Path) -> None:
    result, engine = run(tmp_path, {"dtype=fp16": 0.1}, model=make_model())
    recipe = recipe_of(result)
    assert recipe.choices == FP16
    quality = recipe.evidence.quality
    assert quality.fidelity == "not assessed"
    assert quality.why.startswith("the weights are random: pictures mean nothing (SSIM 0.550")
    assert purposes(engine)("noise") == 0


def test_where_the_baseline_does_not_run_fidelity_is_not_assessed(tmp_path: Path) -> None:
    from tests.search.table_engine import failed

    def answer(spec: TrialSpec) -> Outcome:
        plain = dict(spec.choices) == BASELINE
        return failed(spec.trial, Status.OUT_OF_VRAM) if plain else WORLD(spec)

    result, _, _ = study(tmp_path, answer, model=REAL, quality=Fidelity.BALANCED)
    quality = recipe_of(result).evidence.quality
    assert quality.fidelity == "not assessed"
    assert "nothing to compare with" in quality.why


# ------------------------------------------------------------- screens that leave steps out


def test_a_screen_of_few_steps_is_not_compared_and_its_confirmation_is(tmp_path: Path) -> None:
    looks = {"dtype=fp16": 0.5}
    result, engine = run(tmp_path, looks, LONG, model=REAL_LONG, trials=12)
    for spec in engine.specs:
        few = spec.effort.steps is not None
        assert (spec.reference is None) == (few or spec.purpose == "size")
    first = engine.tried("run-off") or engine.tried("confirm")[:2]
    assert FP16 in first, "it was the first finalist, or one of those that ran off"
    again = engine.tried("run-off") + engine.tried("confirm")
    assert again.count(FP16) == 1, "and is out after one process"
    recipe = recipe_of(result)
    assert recipe.choices["dtype"] != "fp16"
    (refused,) = [one for one in recipe.refused if one.choices == FP16]
    assert refused.reason.startswith("in a fresh process, pictures differ from the baseline's")


def test_more_on_top_of_what_was_refused_is_not_confirmed_either(tmp_path: Path) -> None:
    result, engine = run(
        tmp_path,
        {"dtype=fp16": 0.5},
        LONG,
        model=REAL_LONG,
        trials=12,
        choices=choices("dtype=fp16"),
    )
    assert sum(one["dtype"] == "fp16" for one in engine.tried("screen")) > 3
    ran_off, confirmed = (
        sum(one["dtype"] == "fp16" for one in engine.tried(purpose))
        for purpose in ("run-off", "confirm")
    )
    assert (ran_off > 0) + confirmed == 1
    reasons = {one.reason for one in recipe_of(result).refused if one.choices["dtype"] == "fp16"}
    assert "not compared: pictures with dtype=fp16 differ too much from the baseline's" in reasons


def test_refused_finalists_do_not_use_up_those_that_may_fail(tmp_path: Path) -> None:
    result, engine = run(tmp_path, {"dtype=fp16": 0.5}, LONG, model=REAL_LONG, trials=27)
    # None of them is marked as inexact, so that each is compared itself.
    assert sum(one["dtype"] == "fp16" for one in engine.tried("confirm")) > 3
    assert recipe_of(result).choices["dtype"] != "fp16"


def test_if_nothing_looks_alike_the_hint_names_the_quality(tmp_path: Path) -> None:
    small = World(
        latency_s=4.0, peak_bytes=200_000_000, effects={"dtype=fp16": (0.5, 0.5)}, noise=0.003
    )
    with pytest.raises(NoResult) as error:
        run(tmp_path, {"dtype=fp16": 0.5}, small, model=REAL_LONG)
    assert "--quality any" in (error.value.hint or "")


# ------------------------------------------------------------------------ noise of the model


def test_noise_is_measured_once_beside_the_baseline_and_kept_for_later_studies(
    tmp_path: Path,
) -> None:
    looks = {"attention=native-math": 0.95}
    for name, times in (("first", 1), ("again", 0)):
        folder = tmp_path / name
        folder.mkdir()
        result, engine = run(folder, looks, trials=5)
        assert purposes(engine)("noise") == times
        assert purposes(engine)("screen") == 4, "it is none of the trials that were asked for"
        assert recipe_of(result).evidence.quality.noise == likeness(0.95)


def test_noise_is_that_of_an_exact_choice_with_the_rest_as_in_the_baseline(tmp_path: Path) -> None:
    _, engine = run(tmp_path, {}, trials=5)
    (found,) = engine.tried("noise")
    assert found == {**BASELINE, "attention": "native-math"}
    (spec,) = [one for one in engine.specs if one.purpose == "noise"]
    assert spec.budget_bytes is None
    assert engine.specs.index(spec) == 1, "after the baseline, which it is compared with"


def test_pictures_as_far_off_as_the_models_own_noise_pass(tmp_path: Path) -> None:
    looks = {"dtype=fp16": 0.85, "attention=native-math": 0.85}
    result, _ = run(tmp_path, looks, quality=Fidelity.CLOSE)
    assert recipe_of(result).choices == FP16


@pytest.mark.parametrize(
    "changes",
    [{"quality": Fidelity.ANY}, {"choices": make_choices({"dtype": LEVERS["dtype"]})}],
)
def test_no_trial_is_spent_on_noise_where_none_is_needed_or_none_can_tell(
    tmp_path: Path, changes: Mapping[str, Any]
) -> None:
    levers = {one.lever for one in changes.get("choices", make_choices())}
    definition = Definition(levers=dict.fromkeys(levers, "all"))
    _, engine = run(tmp_path, {}, definition=definition, **changes)
    assert purposes(engine)("noise") == 0


def test_a_broken_file_of_noise_is_measured_again(tmp_path: Path) -> None:
    looks = {"attention=native-math": 0.95}
    (tmp_path / "first").mkdir()
    run(tmp_path / "first", looks, trials=5)
    (kept,) = (tmp_path / "cache" / "noise").iterdir()
    before = kept.read_bytes()
    kept.write_bytes(b"{")
    (tmp_path / "again").mkdir()
    _, engine = run(tmp_path / "again", looks, trials=5)
    assert purposes(engine)("noise") == 1
    assert kept.read_bytes() == before


def test_only_the_finalist_is_judged_in_a_confirmation(tmp_path: Path) -> None:
    # The baseline differs from itself, and there is no noise that would excuse it.
    nothing_exact = make_choices(unavailable={"attention=native-math": "is not here"})
    result, engine = run(tmp_path, {"dtype=fp16": 0.97, "dtype=bf16": 0.3}, choices=nothing_exact)
    assert recipe_of(result).choices == FP16
    assert engine.tried("confirm").count(BASELINE) == STANDARD.pairs
