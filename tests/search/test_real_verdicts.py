"""The whole path to a verdict on real generations: no effect is none, a planted one is seen."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from autotune.models.resolve import resolve
from autotune.search.confirm import Confirmed, confirm
from autotune.search.history import History
from autotune.search.listener import Silence
from autotune.search.runner import Runner
from autotune.stats.compare import Verdict
from tests.engine.driving import local_engine
from tests.search.factory import make_request, make_space
from tests.trial.bench import CPU

pytestmark = pytest.mark.trials

PLAIN = {"dtype": "fp32", "chaos": "off"}


def confirmed(folder: Path, choice: str) -> Confirmed:
    """The demo with a choice of the chaos lever, against the demo without."""
    device = CPU.but(uuid=choice)
    request = make_request(
        folder, model=resolve("demo"), device=device, budget_bytes=CPU.total_bytes
    )
    with local_engine(folder, choice, cold=False) as engine:
        runner = Runner(
            engine=engine,
            request=request,
            listener=Silence(),
            history=History(space=make_space(), budget_bytes=request.budget_bytes),
        )
        return confirm(runner, {**PLAIN, "chaos": choice}, PLAIN)


def test_what_changes_nothing_is_never_faster_or_slower(tmp_path: Path) -> None:
    verdicts = []
    # Two of 70 studies of identical candidates come out apart by chance; hardly two in a row.
    for attempt in ("once", "again"):
        folder = tmp_path / attempt
        folder.mkdir()
        found = confirmed(folder, "as-fast").compared
        assert found is not None
        verdicts.append(found.verdict)
        if found.verdict in (Verdict.SAME, Verdict.CANNOT_SAY):
            return
    raise AssertionError(verdicts)


def test_a_step_that_takes_longer_is_no_gain(tmp_path: Path) -> None:
    found = confirmed(tmp_path, "slow-step")
    assert found.compared is not None
    assert found.compared.verdict in (Verdict.SLOWER, Verdict.CANNOT_SAY)
    assert found.baseline is not None
    ours = [statistics.median(one.forwards_s) for one in found.finalist.outcomes]
    theirs = [statistics.median(one.forwards_s) for one in found.baseline.outcomes]
    assert statistics.median(ours) > statistics.median(theirs)
