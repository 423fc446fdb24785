"""Engines for the tests: a zygote costs seconds, so each kind is started once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autotune.engine.base import Engine
from autotune.engine.debug import DebugEngine
from autotune.engine.local import LocalEngine
from tests.engine.driving import local_engine

#: Nothing here may ever reach a shell, or be split.
_WEIRD = "trials of 'Ann\" $(touch x); \u00e9 *"


@pytest.fixture(scope="session")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEngine]:
    with local_engine(tmp_path_factory.mktemp("forked"), "forked", cold=False) as engine:
        yield engine


@pytest.fixture(scope="session")
def cold(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEngine]:
    with local_engine(tmp_path_factory.mktemp("cold"), "cold", cold=True) as engine:
        yield engine


@pytest.fixture(scope="session")
def debug() -> Iterator[DebugEngine]:
    engine = DebugEngine()
    yield engine
    engine.close()


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> Engine:
    """The engine that the test is parametrised with."""
    found: Engine = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[], Path]:
    """A new folder for a trial at each call, with all that is unpleasant in its path."""
    numbers = itertools.count(1)
    return lambda: tmp_path / _WEIRD / f"trial {next(numbers)}"
