"""One engine for all trials of a module: run_trial in a forked child, with the chaos lever."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autotune.engine.local import LocalEngine
from autotune.records import Outcome
from tests.engine.driving import local_engine, run
from tests.trial.bench import trial_spec

Runs = Callable[..., tuple[Outcome, Path]]


@pytest.fixture(scope="module")
def _engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEngine]:
    with local_engine(tmp_path_factory.mktemp("trials"), "trials", cold=False) as engine:
        yield engine


@pytest.fixture
def run_in_child(_engine: LocalEngine, tmp_path: Path) -> Runs:
    """Run a short trial, with fields of its spec changed; gives its outcome and its folder."""
    numbers = itertools.count(1)

    def run_it(chaos: str | None = None, **changes: object) -> tuple[Outcome, Path]:
        folder = tmp_path / f"trial {next(numbers)}"
        if chaos is not None:
            changes["choices"] = {"chaos": chaos}
        _, outcome = run(_engine, trial_spec(**changes), folder)
        return outcome, folder

    return run_it
