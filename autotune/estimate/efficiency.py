"""What real kernels reach of a device's ceilings, and what each choice changes: a data file.

Every row of ``efficiency.toml`` carries its source; what nobody has measured is an assumption, and
says so.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Literal

from autotune.records import Record

Phase = Literal["encode", "denoise", "decode"]


class Change(Record):
    """What a choice changes: factors on rates and on work, and the rest as the data file says."""

    linear: float = 1.0
    convolution: float = 1.0
    attention: float = 1.0
    work: float = 1.0
    linear_work: float = 1.0
    attention_work: float = 1.0
    moved: float = 1.0
    launches: float = 1.0
    unpack: float = 0.0
    format: str | None = None
    transfer: float = 1.0
    back: float = 1.0
    first_s: float = 0.0
    first: float = 1.0


class Shares(Record):
    """Which part of a device's ceilings models reach."""

    linear: float
    convolution: float
    attention: float
    copy_bytes: float
    launch: float


class DeviceRow(Record):
    """Shares of the devices of some compute capabilities, or of any."""

    on: tuple[str, ...] = ()
    shares: Shares
    source: str


class Row(Record):
    """What some choices of a lever change, and where."""

    choices: tuple[str, ...]
    on: tuple[str, ...] = ()
    compiled: bool | None = None
    phases: tuple[Phase, ...] = ("denoise",)
    change: Change
    source: str

    def holds(self, choice: str, phase: Phase | None, kind: str, compiled: bool) -> bool:
        """Whether it is about this choice, here."""
        return (
            any(fnmatchcase(choice, pattern) for pattern in self.choices)
            and (phase is None or phase in self.phases)
            and (not self.on or kind in self.on)
            and self.compiled in (None, compiled)
        )


class Sheet(Record):
    """What a large product and a large copy reach of a data sheet."""

    full: float
    halved: float
    copy_bytes: float


class Efficiency(Record):
    """All of ``efficiency.toml``."""

    sheet: Sheet
    devices: tuple[DeviceRow, ...]
    rows: Mapping[str, tuple[Row, ...]]
    start: Mapping[str, tuple[Row, ...]]


@cache
def load_efficiency() -> Efficiency:
    """The shares and factors, from data in the package."""
    text = files("autotune.estimate").joinpath("efficiency.toml").read_text(encoding="utf-8")
    return Efficiency.model_validate_json(json.dumps(tomllib.loads(text)))
