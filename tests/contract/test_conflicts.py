"""Every known conflict is answered for: by a rule, a reason, a check, or what cannot be built."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from autotune.levers import load_levers
from autotune.levers.rules import RULES
from tests.contract.conflicts import CONFLICTS
from tests.contract.row import Row
from tests.contract.rows import ROWS

#: The conflict table has rows 1 to 97.
NUMBERS = range(1, 98)
TESTS = Path(__file__).resolve().parents[1]
BY_ID = {rule.id: rule for rule in RULES}
EVERY_TEST = frozenset(
    name
    for path in TESTS.rglob("test_*.py")
    for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
)


def test_every_row_of_the_conflict_table_is_answered_for() -> None:
    assert [number for number in NUMBERS if number not in CONFLICTS] == []
    assert set(CONFLICTS) <= set(NUMBERS)


@pytest.mark.parametrize("number", sorted(CONFLICTS))
def test_the_answer_is_there(number: int) -> None:
    what, answer = CONFLICTS[number]
    assert len(what.split()) > 1
    kind, *named = answer.split()
    assert named
    if kind == "rule":
        for id in named:
            assert re.search(rf"\bB{number}\b", BY_ID[id].cite), f"{id} does not cite B{number}"
    elif kind in ("unavailable", "engagement"):
        for setting in named:
            lever, _, choice = setting.partition("=")
            assert lever in load_levers()
            assert choice in _released(lever), setting
    elif kind == "construction":
        assert set(named) <= EVERY_TEST, named
    else:
        assert kind == "outside"
        assert len(named) > 3, "say why nothing leads there"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_that_cites_the_table_is_named_there(rule: object) -> None:
    cite = str(rule.cite)  # type: ignore[attr-defined]
    id = str(rule.id)  # type: ignore[attr-defined]
    for number in map(int, re.findall(r"\bB(\d+)\b", cite)):
        assert id in CONFLICTS[number][1].split(), f"{id} cites B{number}, which does not name it"


def _released(lever: str) -> set[str]:
    rows: list[Row] = [row for row in ROWS if row.lever == lever]
    return set(rows[0].released.split())
