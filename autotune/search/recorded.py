"""A recorded space: every candidate of a space with how its trial ended, as lines of JSON.

The first line says what was recorded, each line after it is one candidate. A candidate that is
not listed does not exist: the rules forbid it, or it was not recorded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue, ValidationError, model_validator

from autotune.errors import BadInput, one_line, shorten
from autotune.files import read_capped, write_atomic
from autotune.records import Candidate, Record, candidate_key
from autotune.status import Status
from autotune.strict_json import FORMS, check_format, parse_json

#: A quarter of a million candidates; larger spaces are searched, not recorded.
CAP_BYTES = 128 << 20


_FORMAT = 1
_LINES = "the first line describes the space, every other one a candidate, each as JSON"


class Header(Record):
    """The first line: whose space this is. ``device`` carries the fingerprint of what measured."""

    format: Literal[1] = 1
    kind: Literal["space"] = "space"
    model: JsonValue
    device: JsonValue
    workload: JsonValue
    levers: Mapping[str, tuple[str, ...]]
    baseline: Mapping[str, str]

    @model_validator(mode="after")
    def _baseline_is_of_the_space(self) -> Header:
        _check(self.baseline, self.levers)
        return self


class Predicted(Record):
    """What was predicted of a candidate before it ran."""

    latency_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    peak_bytes: int | None = Field(default=None, ge=0)


class Row(Record):
    """One candidate: how its trial ended, and what that cost."""

    choices: Mapping[str, str]
    outcome: Status
    latency_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    peak_bytes: int | None = Field(default=None, ge=0)
    cost_s: float = Field(ge=0, allow_inf_nan=False)
    predicted: Predicted | None = None
    quality: JsonValue = None

    @model_validator(mode="after")
    def _what_was_measured_has_numbers(self) -> Row:
        if self.outcome is Status.MEASURED and None in (self.latency_s, self.peak_bytes):
            raise ValueError("a measured candidate needs latency_s and peak_bytes")
        return self

    def fits(self, budget_bytes: int) -> bool:
        """Whether it was measured within the budget."""
        measured = self.outcome is Status.MEASURED
        return measured and self.peak_bytes is not None and self.peak_bytes <= budget_bytes


@dataclass(frozen=True, kw_only=True)
class RecordedSpace:
    """A table that answers instead of a device."""

    header: Header
    rows: Mapping[str, Row]

    def row(self, candidate: Candidate) -> Row | None:
        """What was recorded of a candidate."""
        return self.rows.get(candidate_key(candidate))

    def optimum(self, budget_bytes: int) -> Row | None:
        """The fastest within the budget."""
        fitting = [row for row in self.rows.values() if row.fits(budget_bytes)]
        return min(fitting, key=lambda row: row.latency_s or 0.0, default=None)


def make_space(header: Header, rows: Iterable[Row]) -> RecordedSpace:
    """Put a table together.

    Raises:
        ValueError: If a row is not of the space, or is there twice.
    """
    found: dict[str, Row] = {}
    for row in rows:
        _check(row.choices, header.levers)
        key = candidate_key(row.choices)
        if key in found:
            raise ValueError(f"{shorten(key)} is there twice")
        found[key] = row
    return RecordedSpace(header=header, rows=found)


def read_recorded(path: Path) -> RecordedSpace:
    """Read a table strictly.

    Raises:
        BadInput: Naming the line that is wrong, and why.
    """
    name = shorten(str(path), 200)
    lines = read_capped(path, CAP_BYTES).splitlines()
    header: Header | None = None
    rows: list[Row] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"{name}, line {number},"
        # Refuses what Python reads beyond JSON, and keys that stand there twice.
        document = _parsed(line, place)
        try:
            if header is None:
                check_format(_format(document), known=_FORMAT, what=name)
                header = Header.model_validate_json(line)
            else:
                rows.append(_row(line, header))
        except ValueError as error:
            raise BadInput(f"{place} cannot be used: {_sentence(error)}", hint=_LINES) from None
    if header is None or not rows:
        raise BadInput(f"{name} holds no recorded candidates", hint=_LINES)
    if all(row.choices != header.baseline for row in rows):
        raise BadInput(f"{name} has no line for its baseline", hint="record it again")
    try:
        return make_space(header, rows)
    except ValueError as error:
        raise BadInput(f"{name} cannot be used: {error}", hint="leave one line out") from None


def write_recorded(path: Path, space: RecordedSpace, *, overwrite: bool) -> None:
    """Write a table, whole or not at all."""
    lines = [space.header.model_dump_json(), *(_line(row) for row in space.rows.values())]
    write_atomic(path, ("\n".join(lines) + "\n").encode(), overwrite=overwrite)


def _parsed(line: bytes, place: str) -> object:
    try:
        return parse_json(line, what=place, is_line=True)
    except BadInput as error:
        hint = _LINES if error.hint == FORMS else error.hint
        raise BadInput(error.message, hint=hint) from None


def _format(document: object) -> object:
    """What the first line says of its format; one that says nothing is judged as it stands."""
    return document.get("format", _FORMAT) if isinstance(document, dict) else _FORMAT


def _row(line: bytes, header: Header) -> Row:
    row = Row.model_validate_json(line)
    _check(row.choices, header.levers)
    return row


def _line(row: Row) -> str:
    return json.dumps(row.model_dump(mode="json"), separators=(",", ":"))


def _check(choices: Mapping[str, str], levers: Mapping[str, tuple[str, ...]]) -> None:
    if choices.keys() != levers.keys():
        odd = ", ".join(sorted(choices.keys() ^ levers.keys()))
        raise ValueError(f"the levers differ from those of the space: {shorten(odd)}")
    for lever, id in choices.items():
        if id not in levers[lever]:
            raise ValueError(f"{shorten(lever)} has no choice {shorten(id)}")


def _sentence(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_context=False)[0]
    where = one_line(".".join(str(part) for part in first["loc"]))
    said = one_line(first["msg"].removeprefix("Value error, "))
    told = said[:1].lower() + said[1:]
    return f"{where}: {told}" if where else told
