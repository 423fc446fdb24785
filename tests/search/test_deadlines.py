"""How long a trial may take: what the baseline lets expect, and what its levers need to start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autotune.levers import start_up_s
from autotune.records import Effort, TrialSpec
from autotune.search.history import History
from autotune.search.listener import Silence
from autotune.search.runner import Runner
from autotune.trial.wire import PROGRESS
from tests.search.factory import make_choices, make_request, make_space
from tests.search.table_engine import TableEngine, World

LEVERS = {"compile": ("none", "regional", "full")}


class TalkingEngine(TableEngine):
    """Trials that say where they are at these times."""

    said_at: tuple[float, ...] = ()

    def submit(self, spec: TrialSpec, folder: Path) -> str:
        folder.mkdir(parents=True)
        lines = [json.dumps({"stage": "sample", "at": at}) for at in self.said_at]
        (folder / PROGRESS).write_text("\n".join(lines))
        return super().submit(spec, folder)


def specs_after_a_baseline(tmp_path: Path, *said_at: float) -> list[TrialSpec]:
    """Those of the baseline, of each choice, and of a confirmation of the last."""
    engine = TalkingEngine(choices=make_choices(LEVERS), answer=World(effects={}))
    engine.said_at = said_at
    history = History(space=make_space(LEVERS), budget_bytes=1 << 40)
    runner = Runner(
        engine=engine, request=make_request(tmp_path), listener=Silence(), history=history
    )
    runner.baseline({"compile": "none"}, Effort())
    for choice in LEVERS["compile"]:
        runner.screen({"compile": choice}, "to see", Effort())
    runner.repeat({"compile": "full"}, "confirm", Effort(), budget_bytes=None)
    return engine.specs


def test_a_candidate_that_compiles_may_take_that_much_longer(tmp_path: Path) -> None:
    specs = specs_after_a_baseline(tmp_path)
    _, none, regional, full, confirm = (spec.deadline_s for spec in specs)
    assert regional - none == start_up_s({"compile": "regional"}) > 0
    assert full - none == start_up_s({"compile": "full"}) > regional - none
    assert confirm == full


@pytest.mark.parametrize(("longest", "expected"), [(30.0, 150.0), (2.0, 60.0)])
def test_a_trial_may_be_silent_five_times_as_long_as_the_baseline_was(
    tmp_path: Path, longest: float, expected: float
) -> None:
    specs = specs_after_a_baseline(tmp_path, 100.0, 100.0 + longest, 101.0 + longest)
    baseline, none, regional, *_ = (spec.silence_s for spec in specs)
    assert baseline is None
    assert none == expected
    assert regional == expected + start_up_s({"compile": "regional"})


@pytest.mark.parametrize("said_at", [(), (1.0,)])
def test_without_a_word_of_the_baseline_only_the_deadline_counts(
    tmp_path: Path, said_at: tuple[float, ...]
) -> None:
    specs = specs_after_a_baseline(tmp_path, *said_at)
    assert {spec.silence_s for spec in specs} == {None}
