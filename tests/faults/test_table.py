"""Every fault of the matrix has a test that provokes it, or says why none can."""

from __future__ import annotations

from tests.faults.table import PAGE, TABLE, Row, find_marks, read_rows, render

ROWS = {row.id: row for row in read_rows()}
MATRIX = [
    f"{part}{number}"
    for part, last in (("T", 23), ("G", 12), ("C", 17))
    for number in range(1, last + 1)
]
#: Rows of a database that this product does not have, and of a server.
NO_DATABASE = {"C5", "C6", "C7", "C8", "C9"}


def test_the_rows_are_those_of_the_matrix() -> None:
    assert list(ROWS) == MATRIX


def test_no_row_is_without_a_test_or_a_reason() -> None:
    marks = find_marks()
    untested = {id for id in ROWS if not marks.get(id)}
    assert untested == NO_DATABASE
    assert all(ROWS[id].open for id in untested)


def test_no_test_names_a_row_that_is_not_there() -> None:
    assert set(find_marks()) <= set(ROWS)


def test_the_table_in_contributing_is_current() -> None:
    match = TABLE.search(PAGE.read_text())
    assert match is not None
    assert match[0] == render(read_rows(), find_marks()), "python -m tests.faults.table"


def test_a_row_without_a_test_says_why() -> None:
    row = Row(id="X1", fault="a fault", then="nothing", open="it cannot be had")
    assert "| — | not tested: it cannot be had |" in render([row], {})
