"""A finalist has to leave room for the next process, another seed and the longest prompt."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.errors import NoResult
from autotune.records import Outcome, TrialSpec, Workload, candidate_key
from autotune.search.request import STANDARD
from autotune.search.room import longest
from autotune.status import Status
from tests.search.studies import FP16, WORLD, study
from tests.search.table_engine import World, failed, measured

#: What stands beside fp16: 0.8 of the time.
SECOND = World(effects={**WORLD.effects, "attention=native-flash": (0.8, 0.9)}, noise=0.003)


def peaks(*bytes_: int) -> object:
    """A device on which the processes of fp16 take these, one after the other."""
    left = list(bytes_)

    def answer(spec: TrialSpec) -> Outcome:
        outcome = SECOND(spec)
        if spec.choices["dtype"] != "fp16" or spec.purpose == "screen":
            return outcome
        peak = left.pop(0) if len(left) > 1 else left[0]
        return measured(spec, outcome.samples_s, peak)

    return answer


def is_last(spec: TrialSpec) -> bool:
    """Whether it is the one that shows room, and not the baseline once more."""
    return spec.purpose == "size" and spec.budget_bytes is not None


def test_the_last_trial_of_a_finalist_has_another_seed_and_the_longest_prompt(
    tmp_path: Path,
) -> None:
    result, engine, _ = study(tmp_path, trials=27)
    last = next(spec for spec in engine.specs if is_last(spec))
    assert last.choices == FP16
    assert last.budget_bytes == result.history.budget_bytes
    usual = engine.specs[0].workload
    assert len(last.workload.prompts) == 1
    assert len(last.workload.prompts[0].split()) == 512
    assert last.workload.seed != usual.seed
    assert last.workload.but(prompts=usual.prompts, seed=usual.seed) == usual


@pytest.mark.parametrize("prompts", [("a fox",), ("a fox", "a red fox in the snow"), ("",)])
def test_the_longest_prompt_is_made_of_the_longest_there_is(prompts: tuple[str, ...]) -> None:
    made = longest(Workload(prompts=prompts)).prompts[0]
    assert len(made.split()) == 512
    assert made.startswith(max(prompts, key=len))


def test_a_finalist_whose_last_trial_exceeds_the_budget_is_not_published(tmp_path: Path) -> None:
    failing: list[str] = []

    def answer(spec: TrialSpec) -> Outcome:
        if is_last(spec) and len(failing) < 1:
            failing.append(candidate_key(spec.choices))
            return failed(spec.trial, Status.OVER_BUDGET, "peak 9 bytes, budget 8 bytes")
        return SECOND(spec)

    result, _, scribe = study(tmp_path, answer, trials=27)
    assert result.recipe is not None
    (first,) = failing
    assert candidate_key(result.recipe.choices) != first
    refused = next(one for one in result.recipe.refused if candidate_key(one.choices) == first)
    assert "budget 8 bytes" in refused.reason
    assert any("peak 9 bytes, budget 8 bytes" in one for one in scribe.sentences)


def test_peaks_that_differ_too_much_below_the_budget_are_not_published(tmp_path: Path) -> None:
    """Five processes took 90 to 110 MB: 112 MB will not always do."""
    answer = peaks(*[90_000_000, 110_000_000, 95_000_000, 105_000_000, 100_000_000] * 6)
    with pytest.raises(NoResult, match="no candidate held"):
        study(tmp_path, answer, budget_bytes=112_000_000, trials=2, pins={"dtype": "fp16"})  # type: ignore[arg-type]
    roomy = tmp_path / "roomy"
    roomy.mkdir()
    result, _, _ = study(roomy, answer, budget_bytes=130_000_000, pins={"dtype": "fp16"})  # type: ignore[arg-type]
    assert result.recipe is not None
    assert result.recipe.evidence.winner.peak_bytes == 110_000_000


def test_a_peak_of_the_last_trial_counts_and_its_time_does_not(tmp_path: Path) -> None:
    def answer(spec: TrialSpec) -> Outcome:
        outcome = WORLD(spec)
        if is_last(spec):
            return measured(spec, (9.0,), 104_000_000)
        return outcome

    result, _, _ = study(tmp_path, answer, trials=27)
    assert result.recipe is not None
    winner = result.recipe.evidence.winner
    assert winner.peak_bytes == 104_000_000
    assert len(winner.processes_s) == STANDARD.pairs
    assert winner.latency_s < 1


def test_a_prompt_that_the_model_does_not_take_says_nothing_about_memory(tmp_path: Path) -> None:
    def answer(spec: TrialSpec) -> Outcome:
        if is_last(spec):
            return failed(spec.trial, Status.UNSUPPORTED, "ValueError: too long")
        return WORLD(spec)

    result, _, _ = study(tmp_path, answer, trials=27)
    assert result.recipe is not None
    assert result.recipe.choices == FP16
