"""One row of data a lever: what it offers each tiny pipeline on a CPU, and what it does there.

A choice id stands in recipes, so ``released`` only ever grows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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
    workload: Workload = SMALL


#: Enough for tiles of a half, and a batch to slice.
MEDIUM = SMALL.but(height=128, width=128, batch=2)
#: Enough for tiles of a quarter.
LARGE = SMALL.but(height=256, width=256)
UNETS = ("sd15", "sdxl")


def _all(choices: str, **others: str) -> dict[str, str]:
    return dict.fromkeys(TINY, choices) | others


ROWS = (
    Row(
        lever="dtype",
        released="fp32 bf16 fp16",
        baseline="fp32",
        accepts=_all("fp32 bf16 fp16"),
        changes={"bf16": 0.02, "fp16": 0.002},
    ),
    Row(
        lever="channels-last",
        released="off vae denoiser denoiser+vae",
        baseline="off",
        accepts=_all("off vae", wan="off") | dict.fromkeys(UNETS, "off vae denoiser denoiser+vae"),
    ),
    Row(
        lever="vae-tiling",
        released="off half quarter",
        baseline="off",
        # The VAEs of all but Sana are of one class.
        accepts={"sd15": "off half quarter", "sana": "off half quarter"},
        changes={"half": 0.05, "quarter": 0.1},
        workload=LARGE,
    ),
    Row(
        lever="vae-tiling",
        released="off half quarter",
        baseline="off",
        # A latent pixel of Sana's is two pixels wide here, of the others' eight.
        accepts=_all("off half", sana="off half quarter"),
        changes={"half": 0.05, "quarter": 0.1},
        workload=MEDIUM,
    ),
    Row(
        lever="vae-tiling",
        released="off half quarter",
        baseline="off",
        accepts=_all("off", sana="off half quarter"),
        changes={"half": 0.05, "quarter": 0.1},
    ),
    Row(
        lever="vae-slicing",
        released="off on",
        baseline="off",
        accepts=_all("off on"),
        workload=MEDIUM,
    ),
    Row(
        lever="vae-slicing",
        released="off on",
        baseline="off",
        accepts=_all("off"),
    ),
    Row(
        lever="attention",
        released="native native-flash native-efficient native-cudnn native-math",
        baseline="native",
        accepts=_all("native") | dict.fromkeys(("flux", "wan"), "native native-flash native-math"),
    ),
    Row(
        lever="attention-slicing",
        released="off auto max",
        baseline="off",
        accepts=_all("off", **dict.fromkeys(UNETS, "off auto max")),
    ),
)
