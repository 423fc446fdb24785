"""The fault matrix as a table: its rows, and the tests that say which rows they provoke.

``python -m tests.faults.table`` writes it into CONTRIBUTING.md; a test holds it current.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.sources import ROOT

PAGE = ROOT / "CONTRIBUTING.md"
TABLE = re.compile(r"(?<=<!-- faults -->\n).*?(?=<!-- end faults -->)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A fault, what happens then, and what of it no test provokes."""

    id: str
    fault: str
    then: str
    open: str = ""


@dataclass(frozen=True, kw_only=True, order=True)
class Marked:
    """A test that provokes a row."""

    file: str
    name: str


def read_rows() -> list[Row]:
    """The rows, in the order of the matrix."""
    text = Path(__file__).with_name("rows.toml").read_text(encoding="utf-8")
    return [Row(id=id, **fields) for id, fields in tomllib.loads(text).items()]


def find_marks() -> dict[str, list[Marked]]:
    """The tests of each row, without importing one."""
    found: dict[str, list[Marked]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        file = str(path.relative_to(ROOT / "tests"))
        for row, name in _marks(ast.parse(path.read_text(encoding="utf-8"))):
            one = Marked(file=file, name=name)
            if one not in found[row]:
                found[row].append(one)
    return found


def _marks(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for function in tree.body:
        if isinstance(function, ast.FunctionDef) and function.name.startswith("test_"):
            for decorator in function.decorator_list:
                for row in _rows_in(decorator):
                    yield row, function.name


def _rows_in(decorator: ast.expr) -> Iterator[str]:
    """The rows of ``@pytest.mark.fault`` itself, and of one on a parameter."""
    for node in ast.walk(decorator):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault":
            for argument in node.args:
                assert isinstance(argument, ast.Constant), "a row is written as it is"
                yield str(argument.value)


def render(rows: Sequence[Row], marks: Mapping[str, Sequence[Marked]]) -> str:
    """The table in Markdown."""
    lines = ["| | fault | what happens | tests | |", "|---|---|---|---|---|"]
    for row in rows:
        files: dict[str, list[str]] = defaultdict(list)
        for one in sorted(marks.get(row.id, ())):
            files[one.file].append(f"`{one.name.removeprefix('test_')}`")
        tests = "; ".join(f"{file}: {', '.join(names)}" for file, names in files.items())
        lines.append(
            f"| {row.id} | {row.fault} | {row.then} | {tests or '—'} | {_state(row, tests)} |"
        )
    return "\n".join(lines) + "\n"


def _state(row: Row, tests: str) -> str:
    if not tests:
        return f"not tested: {row.open}"
    return f"tested, but: {row.open}" if row.open else "tested"


def main() -> None:
    """Write the table into its page."""
    page, table = PAGE.read_text(encoding="utf-8"), render(read_rows(), find_marks())
    PAGE.write_text(TABLE.sub(lambda _: table, page), encoding="utf-8")


if __name__ == "__main__":
    main()
