"""How long a trial may take: what the baseline lets expect, and what its levers need to start."""

from __future__ import annotations

from pathlib import Path

from autotune.levers import start_up_s
from autotune.records import Effort
from autotune.search.history import History
from autotune.search.listener import Silence
from autotune.search.runner import Runner
from tests.search.factory import make_choices, make_request, make_space
from tests.search.table_engine import TableEngine, World

LEVERS = {"compile": ("none", "regional", "full")}


def test_a_candidate_that_compiles_may_take_that_much_longer(tmp_path: Path) -> None:
    engine = TableEngine(choices=make_choices(LEVERS), answer=World(effects={}))
    history = History(space=make_space(LEVERS), budget_bytes=1 << 40)
    runner = Runner(
        engine=engine, request=make_request(tmp_path), listener=Silence(), history=history
    )
    runner.baseline({"compile": "none"}, Effort())
    for choice in LEVERS["compile"]:
        runner.screen({"compile": choice}, "to see", Effort())
    runner.repeat({"compile": "full"}, "confirm", Effort(), budget_bytes=None)
    _, none, regional, full, confirm = (spec.deadline_s for spec in engine.specs)
    assert regional - none == start_up_s({"compile": "regional"}) > 0
    assert full - none == start_up_s({"compile": "full"}) > regional - none
    assert confirm == full
