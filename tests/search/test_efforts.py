"""Efforts: how much each measures, and that a verdict is possible with every one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from autotune.errors import BadInput
from autotune.objective import STEADY, parse_objective
from autotune.report.text import advice
from autotune.search.request import EFFORTS, STANDARD, efforts_for
from autotune.stats.compare import Verdict
from tests.search.studies import WORLD, study

BY_NAME = pytest.mark.parametrize("name", EFFORTS)


@BY_NAME
def test_a_study_measures_as_much_as_its_effort_says_and_finds_what_is_there(
    tmp_path: Path, name: str
) -> None:
    efforts = EFFORTS[name]
    result, engine, _ = study(tmp_path, WORLD, efforts=efforts)
    recipe = result.recipe
    assert recipe is not None
    assert recipe.evidence.comparison.verdict is Verdict.FASTER
    assert recipe.evidence.effort == efforts.confirm
    assert recipe.evidence.effort.name == name
    assert len(recipe.evidence.winner.processes_s) == efforts.pairs
    purposes = Counter(spec.purpose for spec in engine.specs)
    assert purposes["confirm"] == 2 * efforts.pairs
    for spec in engine.specs:
        if spec.purpose != "size" or spec.effort.name == name:
            again = spec.purpose in ("confirm", "run-off")
            wanted = efforts.confirm if again else efforts.screen
            assert spec.effort == wanted


def test_more_effort_measures_more() -> None:
    quick, standard, thorough = (EFFORTS[name] for name in ("quick", "standard", "thorough"))
    for few, many in ((quick, standard), (standard, thorough)):
        assert few.pairs <= many.pairs
        for less, more in ((few.screen, many.screen), (few.confirm, many.confirm)):
            assert (less.warmups, less.samples) <= (more.warmups, more.samples)
    assert STANDARD is standard
    # Rule M6, of the search and of the confirmation.
    assert thorough.screen.least_s == 10
    assert thorough.screen.samples >= 3
    assert thorough.pairs >= 8
    assert standard.pairs * standard.confirm.samples >= 8


def test_a_quick_study_says_that_its_samples_are_few(tmp_path: Path) -> None:
    text = "\n".join(advice(study(tmp_path, WORLD, efforts=EFFORTS["quick"])[0]))
    assert "caution: the median rests on too few samples (4 in 4; it takes 8 in 3" in text


@BY_NAME
def test_a_first_call_that_counts_is_never_the_one_that_is_watched(name: str) -> None:
    found = efforts_for(name, parse_objective("first"))
    assert found.name == name
    assert min(found.screen.warmups, found.confirm.warmups) >= 2
    assert efforts_for(name, STEADY) is EFFORTS[name]


def test_an_effort_that_is_none_is_refused() -> None:
    with pytest.raises(BadInput, match="there is no effort 'hard'") as error:
        efforts_for("hard", STEADY)
    assert error.value.hint == "quick, standard, thorough"
