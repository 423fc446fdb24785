"""A recipe that contradicts itself is refused, though its digest is right."""

from __future__ import annotations

from typing import Any

import pytest

from autotune.errors import BadRecipe
from autotune.recipe.claims import untrue
from autotune.recipe.read import parse_recipe
from autotune.recipe.schema import Comparison
from autotune.stats.compare import Verdict
from tests.recipe.factory import FAST, SLOW, make_document, make_evidence, make_recipe, sign


def test_a_recipe_whose_numbers_follow_from_its_samples_is_true() -> None:
    assert untrue(make_recipe()) is None


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("evidence.winner.latency_s", 0.4, "its samples say"),
        ("evidence.winner.processes_s.0.0", 0.6, "its samples say"),
        ("evidence.baseline.latency_s", 2.0, "evidence.baseline.latency_s"),
        ("evidence.winner.firsts_s", [0.9, 0.9], "evidence.winner.firsts_s are of 2 processes"),
        ("evidence.winner.firsts_s", [0.8] * 4, "evidence.winner.first_s is 0.9"),
        ("evidence.baseline.loads_s", [1.0, 1.0, 1.0, 1.1], "evidence.baseline.load_s is 1.5"),
        ("objective", "first", "the objective is 'first', but such times are not given"),
        ("objective", "total:100", "the objective is 'total:100'"),
        ("evidence.comparison.ratio", 3.0, "evidence.comparison.ratio is 3.0"),
        ("evidence.comparison.ratio_low", 1.0, "ratio_low"),
        ("evidence.comparison.ratio_high", 9.0, "ratio_high"),
        ("evidence.comparison.verdict", "slower", "verdict is 'slower'"),
        ("evidence.comparison.verdict", "same", "verdict is 'same'"),
        ("evidence.comparison.verdict", "is the baseline", "other choices"),
        ("evidence.winner.peak_bytes", 450_000_000, "above budget.bytes"),
        ("fingerprint.device.total_bytes", 299_999_999, "more than the device has"),
        ("evidence.winner.phases_bytes.load", 300_000_001, "phases_bytes.load"),
        ("evidence.winner.binds", "transformer during lunch", "binds"),
        ("evidence.winner.choices.dtype", "fp16", "differ from choices"),
        ("choices.dtype", "fp16", "differ from choices"),
        ("evidence.winner.engaged.dtype.engaged", False, "no effect"),
        ("budget.bytes", 400_000_001, "budget.asked"),
        ("workload.steps", 0, "workload.steps"),
        ("workload.width", -8, "workload.width"),
        ("workload.height", 1_000_000, "workload.height"),
        ("workload.batch", 0, "workload.batch"),
        ("workload.frames", 0, "workload.frames"),
        ("workload.prompts", [], "workload.prompts"),
        ("workload.seed", -1, "workload.seed"),
        ("model.source", "hub", "40 hexadecimal digits"),
        ("evidence.quality.fidelity", "assessed", "no likeness is given"),
        ("model.id", "..", "not the name of a model"),
        ("model.id", "a/..", "not the name of a model"),
    ],
)
def test_refuses_what_cannot_be_true(path: str, value: object, says: str) -> None:
    document: Any = make_document()
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    inner = document
    for part in parents:
        inner = inner[part]
    inner[last] = value
    with pytest.raises(BadRecipe) as caught:
        parse_recipe(sign(document))
    assert says in caught.value.message
    assert "cannot be true" in caught.value.message


def test_a_verdict_may_be_more_careful_than_the_samples() -> None:
    evidence = make_evidence()
    careful = evidence.comparison.but(verdict=Verdict.CANNOT_SAY)
    assert untrue(make_recipe(evidence=evidence.but(comparison=careful))) is None


def test_without_a_baseline_nothing_is_said_to_be_faster() -> None:
    evidence = make_evidence(FAST, None)
    assert untrue(make_recipe(evidence=evidence)) is None
    faster = evidence.but(comparison=evidence.comparison.but(verdict=Verdict.FASTER))
    assert "without a baseline" in str(untrue(make_recipe(evidence=faster)))
    ratio = evidence.but(comparison=evidence.comparison.but(ratio=2.0))
    assert "without a baseline" in str(untrue(make_recipe(evidence=ratio)))


def test_a_winner_that_is_the_baseline_says_so() -> None:
    evidence = make_evidence(FAST, FAST)
    winner = evidence.winner
    said = Comparison(
        verdict=Verdict.IS_BASELINE, ratio=None, ratio_low=None, ratio_high=None, why="best"
    )
    for baseline in (winner, None):
        same = evidence.but(baseline=baseline, comparison=said)
        assert untrue(make_recipe(evidence=same)) is None


def test_thirty_two_processes_a_side_are_judged_at_once() -> None:
    evidence = make_evidence(FAST * 8, SLOW * 8)
    assert untrue(make_recipe(evidence=evidence)) is None


def test_fidelity_is_assessed_with_real_weights_only() -> None:
    document: Any = make_document()
    scores = {"picture": 0, "frame": None, "psnr_db": 33.0, "ssim": 0.97, "flip": 0.05}
    document["evidence"]["quality"] |= {
        "fidelity": "assessed",
        "asked": "close",
        "likeness": {"scores": [scores]},
    }
    with pytest.raises(BadRecipe, match="the weights are random"):
        parse_recipe(sign(document))
    document["model"]["weights"] = "real"
    likeness = parse_recipe(sign(document)).evidence.quality.likeness
    assert likeness is not None
    assert likeness.scores[0].model_dump() == {**scores, "lpips": None}


@pytest.mark.parametrize(
    ("field", "value"), [("ssim", 1.5), ("flip", -0.1), ("psnr_db", -3.0), ("picture", -1)]
)
def test_scores_that_no_picture_has_are_refused(field: str, value: float) -> None:
    document: Any = make_document()
    scores = {"picture": 0, "psnr_db": 33.0, "ssim": 0.97, "flip": 0.05} | {field: value}
    document["evidence"]["quality"]["likeness"] = {"scores": [scores]}
    with pytest.raises(BadRecipe, match=f"evidence.quality.likeness.scores.0..{field}"):
        parse_recipe(sign(document))
