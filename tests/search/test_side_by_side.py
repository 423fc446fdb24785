"""Two recipes in turns: which is faster, what broke one, and what cannot be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autotune.errors import BadInput
from autotune.recipe.check import check_recipe
from autotune.recipe.schema import Recipe
from autotune.records import Outcome, TrialSpec
from autotune.report.side_by_side import lines, to_json
from autotune.search.listener import Silence
from autotune.search.side_by_side import SideBySide, check_comparable, comparison, measure
from autotune.stats.compare import Verdict
from autotune.status import Status
from tests.search.factory import make_choices, make_request
from tests.search.studies import WORLD, study
from tests.search.table_engine import TableEngine, World, failed


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Recipe, Recipe]:
    """The winner of a study, and the baseline with a budget of its own."""
    found = study(tmp_path, trials=27)[0].recipe
    assert found is not None
    assert found.evidence.baseline is not None
    plain = found.but(
        choices=found.evidence.baseline.choices,
        budget=found.budget.but(bytes=2 * found.budget.bytes),
    )
    return found, plain


def compared(
    pair: tuple[Recipe, Recipe], folder: Path, answer: Any = WORLD, effort: str | None = None
) -> tuple[SideBySide, TableEngine]:
    usual = make_request(folder)
    checks = [check_recipe(one, usual.machine, usual.device, usual.fingerprint) for one in pair]
    request = comparison(
        pair, usual.model, usual.machine, usual.device, usual.fingerprint, folder, effort
    )
    engine = TableEngine(choices=make_choices(), answer=answer)
    return measure(pair, (checks[0], checks[1]), request, engine, Silence()), engine


def test_the_faster_one_is_named_with_what_they_differ_in(
    pair: tuple[Recipe, Recipe], tmp_path: Path
) -> None:
    found, engine = compared(pair, tmp_path)
    assert found.compared is not None
    assert found.compared.verdict is Verdict.FASTER
    ratio = pair[0].evidence.comparison.ratio
    assert found.compared.ratio == pytest.approx(ratio, rel=0.05)
    assert len(engine.specs) == 8
    budgets = {str(spec.choices): spec.budget_bytes for spec in engine.specs}
    assert budgets == {str(one.choices): one.budget.bytes for one in pair}
    said = list(lines(found, ("a.json", "b.json")))
    assert said[0] == "A         a.json: match exact"
    assert said[2] == "B         b.json: match exact"
    assert any(line.startswith("differ    ") for line in said)
    assert said[-2].startswith("verdict   A is faster than B: ")
    assert said[-2].endswith("every process was faster than every process of B")
    answer = to_json(found)
    assert answer["verdict"] == "faster"
    assert set(answer["differences"]) == {
        lever for lever, id in pair[0].choices.items() if pair[1].choices[lever] != id
    }
    assert len(answer["A"]["processes_s"]) == len(answer["B"]["processes_s"]) == 4


def test_the_other_way_round_it_is_slower(pair: tuple[Recipe, Recipe], tmp_path: Path) -> None:
    found, _ = compared((pair[1], pair[0]), tmp_path)
    assert found.compared is not None
    assert found.compared.verdict is Verdict.SLOWER
    assert "verdict   A is slower than B" in "\n".join(lines(found, ("a", "b")))


def test_what_takes_the_same_is_not_called_faster(
    pair: tuple[Recipe, Recipe], tmp_path: Path
) -> None:
    found, _ = compared(pair, tmp_path, World(effects={}, noise=0.003))
    assert found.compared is not None
    assert found.compared.verdict in (Verdict.SAME, Verdict.CANNOT_SAY)


@pytest.mark.parametrize("number", [0, 1])
def test_whichever_fails_is_named(
    pair: tuple[Recipe, Recipe], tmp_path: Path, number: int
) -> None:
    def answer(spec: TrialSpec) -> Outcome:
        broken = spec.choices == pair[number].choices
        return failed(spec.trial, Status.OVER_BUDGET, "too much") if broken else WORLD(spec)

    found, _ = compared(pair, tmp_path, answer)
    assert found.compared is None
    assert found.sides == (None, None)
    assert found.broken == "AB"[number]
    assert list(lines(found, ("a", "b")))[-1] == f"verdict   {'AB'[number]} fails: too much"
    answered = to_json(found)
    assert answered["verdict"] == "fails"
    assert answered["failed"]["recipe"] == "AB"[number]


def test_as_much_is_measured_as_the_more_thorough_of_both_was_or_as_asked(
    pair: tuple[Recipe, Recipe], tmp_path: Path
) -> None:
    first, second = pair
    effort = second.evidence.effort.but(name="thorough")
    second = second.but(evidence=second.evidence.but(effort=effort))
    _, engine = compared((first, second), tmp_path / "thorough")
    assert len(engine.specs) == 16
    _, engine = compared((first, second), tmp_path / "quick", effort="quick")
    assert {spec.effort.samples for spec in engine.specs} == {1}
    with pytest.raises(BadInput, match="no effort 'endless'"):
        compared(pair, tmp_path, effort="endless")


def test_what_differs_in_more_than_its_choices_is_not_compared(
    pair: tuple[Recipe, Recipe],
) -> None:
    first, second = pair
    check_comparable(first, second)
    with pytest.raises(BadInput, match="both recipes choose the same"):
        check_comparable(first, first)
    cases = {
        "the model's id is demo in A and other in B": second.but(
            model=second.model.but(id="other")
        ),
        "the workload's steps is 4 in A and 9 in B": second.but(
            workload=second.workload.but(steps=9)
        ),
        "what counts is steady in A and first in B": second.but(objective="first"),
    }
    for message, other in cases.items():
        with pytest.raises(BadInput, match=f"cannot be compared: {message}"):
            check_comparable(first, other)
