"""The index of a book: a cache of what its recipes say, made anew wherever it is not right.

Lines: what it is, then a fingerprint each, then a row each. Only the lines that a question is
about are taken apart. It is never believed: what it leads to is read strictly and compared.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from autotune.files import canonical_json, digest
from autotune.fleet.row import ROWS, Row
from autotune.records import Fingerprint

#: Beside the recipes, and none of them by its name.
NAME = ".autotune-index"
#: A row takes 250 bytes: a quarter of a million of recipes.
CAP_BYTES = 64 << 20
#: Changes whenever a row or what stands in it does.
_FORMAT = 1


class NotAnIndex(Exception):
    """The bytes are not an index that this version can use."""


@dataclass(kw_only=True)
class Index:
    """Rows by name, as lines, and the fingerprints that they refer to by number."""

    #: The line of each recipe, its stamp and its model, the latter two taken from it.
    rows: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    _machines: list[str] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)

    @property
    def stamps(self) -> Mapping[str, str]:
        """The stamp of each recipe that it knows."""
        return {name: row[1] for name, row in self.rows.items()}

    def number_of(self, machine: Fingerprint) -> int:
        """The number of a fingerprint; it is added if it is not there."""
        line = canonical_json(machine.model_dump(mode="json")).decode()
        if line not in self._numbers:
            self._numbers[line] = len(self._machines)
            self._machines.append(line)
        return self._numbers[line]

    def machine(self, number: int) -> Fingerprint:
        """The fingerprint of that number.

        Raises:
            NotAnIndex: If there is none.
        """
        if not 0 <= number < len(self._machines):
            raise NotAnIndex(f"there is no fingerprint {number}")
        try:
            return Fingerprint.model_validate_json(self._machines[number])
        except ValidationError:
            raise NotAnIndex(f"fingerprint {number} is none") from None

    def put(self, row: Row) -> None:
        """Add a recipe, in place of one of that name."""
        line = json.dumps(row, ensure_ascii=False, separators=(",", ":"))
        self.rows[row.name] = (line, row.stamp, row.model)

    def about(self, models: Collection[str] | None) -> list[Row]:
        """The rows of some models by their ids in small letters, or of all.

        Raises:
            NotAnIndex: If one of them is no row.
        """
        lines = [
            line for line, _, model in self.rows.values() if models is None or model in models
        ]
        try:
            return ROWS.validate_json(f"[{','.join(lines)}]")
        except (ValidationError, ValueError):
            raise NotAnIndex("a row is none") from None

    def to_bytes(self) -> bytes:
        """What is written: the digest tells what was cut short from what was written whole."""
        # Fingerprints that no recipe has any more cost little, and go when it is made anew.
        body = "\n".join([*self._machines, *(line for line, _, _ in self.rows.values()), ""])
        data = body.encode()
        head = {"format": _FORMAT, "machines": len(self._machines), "digest": digest(data)}
        return canonical_json(head) + b"\n" + data


def read_index(data: bytes) -> Index:
    """Take an index apart as far as its lines.

    Raises:
        NotAnIndex: Whatever the bytes are.
    """
    head, _, body = data.partition(b"\n")
    try:
        said = json.loads(head)
        if said != {"format": _FORMAT, "machines": said["machines"], "digest": digest(body)}:
            raise NotAnIndex("another format, or not whole")
        lines = body.decode().split("\n")[:-1]
        count = said["machines"]
        if type(count) is not int or not 0 <= count <= len(lines):
            raise NotAnIndex("not so many fingerprints")
        index = Index(_machines=lines[:count])
        index._numbers = {line: number for number, line in enumerate(index._machines)}
        for line in lines[count:]:
            # ["name","stamp","model",…: none of the three may hold a quote.
            _, name, _, stamp, _, model, _ = line.split('"', 6)
            index.rows[name] = (line, stamp, model)
        return index
    except (ValueError, TypeError, KeyError, RecursionError):
        raise NotAnIndex("not an index") from None
