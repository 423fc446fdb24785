"""Whole studies against a table, for the tests of how they end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autotune.records import Outcome, TrialSpec
from autotune.search.listener import Silence
from autotune.search.study import Result, run_study
from tests.search.factory import BASELINE, make_choices, make_request
from tests.search.table_engine import Answer, TableEngine, World

#: fp16 is twice as fast.
WORLD = World(effects={"dtype=fp16": (0.5, 1.0), "vae-tiling=half": (1.2, 0.8)}, noise=0.003)
FP16 = {**BASELINE, "dtype": "fp16"}


def hasty(spec: TrialSpec) -> Outcome:
    """WORLD, whose trials say they take no time, so that hardly any is kept back to confirm."""
    return WORLD(spec).but(seconds=0.01)


class Scribe(Silence):
    """Keeps what the study says."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def said(self, sentence: str) -> None:
        self.sentences.append(sentence)


def study(
    folder: Path, answer: Answer = WORLD, *, takes_s: Any = 0.0, **changes: Any
) -> tuple[Result, TableEngine, Scribe]:
    """Run one; what differs from the usual request goes by name."""
    choices = changes.pop("choices", make_choices())
    engine = TableEngine(choices=choices, answer=answer, takes_s=takes_s)
    scribe = Scribe()
    return run_study(make_request(folder, **changes), engine, scribe), engine, scribe
