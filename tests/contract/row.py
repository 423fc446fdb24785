"""What a row of the contract is, and the workloads rows are made for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from autotune.records import Workload
from tests.tiny import TINY
from tests.trial.bench import SMALL


@dataclass(frozen=True, kw_only=True)
class Row:
    """The contract of one lever for one workload."""

    lever: str
    released: str
    baseline: str
    #: By pipeline: the choices that are available. All others must say why they are not.
    accepts: Mapping[str, str]
    #: The choices that change pixels, and by how much of the range at most, on average.
    changes: Mapping[str, float] = field(default_factory=dict)
    #: Whether the tiny pipelines are large enough for the changes to show.
    visible: bool = True
    #: By pipeline: choices refused on a CPU that work there all the same, and keep the picture.
    forced: Mapping[str, str] = field(default_factory=dict)
    #: By pipeline: the choices that are run at all, where running takes long; else all are.
    run: Mapping[str, str] | None = None
    #: What the model is said to have: some choices depend on it (D16).
    weights: Literal["real", "random"] = "real"
    workload: Workload = SMALL


#: Enough for tiles of a half, and a batch to slice.
MEDIUM = SMALL.but(height=128, width=128, batch=2)
#: Enough for tiles of a quarter.
LARGE = SMALL.but(height=256, width=256)
UNETS = ("sd15", "sdxl")


def for_all(choices: str, **others: str) -> dict[str, str]:
    """The same choices for every tiny pipeline but those named."""
    return dict.fromkeys(TINY, choices) | others
