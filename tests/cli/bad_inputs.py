"""The bad inputs of ``tests/data/bad_inputs``, and what is said to each.

A file of that folder holds tables, and a table one way to give an input: ``line`` is the command
line, where ``<input>`` stands for it. ``how`` says what an input is, if not an argument:

- ``file``: the text of a file, between what the table has ``before`` and ``after`` it
- ``bytes``: the same, a byte for each character
- ``set``: a sound recipe with these values, as TOML, and a digest that fits
- ``changed``: the same, with the digest that it had
- ``without``: a sound recipe that lacks this key, and a digest that fits

Below ``said`` each input has the error, with the table's ``hint`` and ``code``, or an array of
error, hint and code. ``<x*9>`` is nine times x; ``<any>`` in a message is what differs from
machine to machine.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.files import pretty_json
from tests.recipe.factory import make_document, sign

FOLDER = Path(__file__).parents[1] / "data" / "bad_inputs"
#: What an input is written to where it is a file.
FILE = "given"

_REPEATED = re.compile(r"<([^<>]+)\*([0-9]+)>")


@dataclass(frozen=True, kw_only=True)
class Bad:
    """One input: the command line, the file beside it, and how that ends."""

    name: str
    line: tuple[str, ...]
    file: bytes | None
    code: int
    error: str
    hint: str

    @property
    def message(self) -> re.Pattern[str]:
        """All that is said, on standard error."""
        said = f"error: {self.error}\n\nhint: {self.hint}\n"
        return re.compile(re.escape(said).replace("<any>", ".*"))


def bad_inputs() -> Iterator[Bad]:
    """Every input of every file."""
    for path in sorted(FOLDER.glob("*.toml")):
        for table in tomllib.loads(path.read_text(encoding="utf-8"))["table"]:
            for key, said in table["said"].items():
                yield _bad(path.stem, table, key, said)


def _bad(section: str, table: Mapping[str, Any], key: str, said: Any) -> Bad:
    how = table.get("how", "argument")
    given = _REPEATED.sub(lambda found: found[1] * int(found[2]), key)
    argument = given if how == "argument" else FILE + table.get("ending", ".json")
    error, hint, code = [*([said] if isinstance(said, str) else said), None, None][:3]
    return Bad(
        name=f"{section}: {ascii(key)[1:-1][:60]}",
        line=tuple(word.replace("<input>", argument) for word in table["line"]),
        file=_sound(table["line"]) if how == "argument" else _content(how, _whole(table, given)),
        code=table.get("code", 2) if code is None else code,
        error=error,
        hint=table.get("hint", "") if hint is None else hint,
    )


def _whole(table: Mapping[str, Any], given: str) -> str:
    return table.get("before", "") + given + table.get("after", "")


def _sound(line: Sequence[str]) -> bytes | None:
    """A recipe to which nothing is to be objected, where the command line names one."""
    return sign(make_document()) if f"{FILE}.json" in line else None


def _content(how: str, given: str) -> bytes | None:
    match how:
        case "file":
            return given.encode()
        case "bytes":
            return given.encode("latin-1")
        case "set":
            document = make_document()
            _lay_over(document, tomllib.loads(given))
            return sign(document)
        case "changed":
            document = json.loads(sign(make_document()))
            _lay_over(document, tomllib.loads(given))
            return pretty_json(document)
        case "without":
            document = make_document()
            inner: Any = document
            *parents, last = given.split(".")
            for part in parents:
                inner = inner[int(part) if part.isdigit() else part]
            del inner[last]
            return sign(document)
    return None


def _lay_over(document: Any, changes: Mapping[str, Any]) -> None:
    """Set what differs; a number stands for a place in a list."""
    for name, value in changes.items():
        place: Any = int(name) if isinstance(document, list) else name
        if isinstance(value, dict) and value:
            inner = (
                document[place] if isinstance(document, list) else document.setdefault(name, {})
            )
            _lay_over(inner, value)
        else:
            document[place] = value
