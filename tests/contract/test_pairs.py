"""The rules table against what really happens: pairs of choices are run, each in its process.

A pair that runs and is forbidden, or fails and is allowed, is a failing test with both names.
The normal run takes a sample; ``tox -e pairs`` walks them all (AUTOTUNE_PAIRS=all).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from autotune.engine.local import LocalEngine
from autotune.records import Outcome
from autotune.status import Status, Teaches
from tests.contract.pairs import (
    ALL,
    FAILS,
    PIPELINES,
    Pair,
    baseline,
    forbidden,
    pairs,
    prepared_folder,
    runnable,
    spec_of,
)
from tests.engine.driving import local_engine, run

pytestmark = pytest.mark.trials

#: Their harm shows at full size only: large numbers overflow, small ones do not.
_FULL_SIZE = ("flux-fp16",)
#: Per pipeline in the normal run: quick ones, and ones that compile (a minute each: the seeds do).
_QUICK, _COMPILING = 4, 0
#: Random candidates of several levers, per pipeline.
_RANDOM = 40 if ALL else 2


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEngine]:
    with local_engine(tmp_path_factory.mktemp("pairs"), "pairs", cold=False) as started:
        yield started


def chosen(pipeline: str) -> list[Pair]:
    """All pairs, or a sample that is the same in every run and holds what is forbidden."""
    found = [one for one in pairs(pipeline) if not (one.rule and one.rule.id in _FULL_SIZE)]
    if ALL:
        return found
    lot = random.Random(pipeline)
    lot.shuffle(found)
    quick = [pair for pair in found if not pair.compiles]
    refused = [pair for pair in quick if pair.rule]
    once = {pair.rule.id: pair for pair in refused if pair.rule}
    allowed = [pair for pair in quick if not pair.rule]
    compiling = [pair for pair in found if pair.compiles]
    return [*once.values(), *allowed[:_QUICK], *compiling[:_COMPILING]]


@pytest.mark.timeout(0 if ALL else 900)
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_pair_runs_exactly_if_no_rule_forbids_it(
    pipeline: str, engine: LocalEngine, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    for number, pair in enumerate(chosen(pipeline)):
        spec = spec_of(pipeline, pair.candidate, "pair", prepared=str(prepared_folder()))
        _, outcome = run(engine, spec, tmp_path / str(number))
        rule = pair.rule
        with subtests.test(str(pair)):
            if rule is None:
                assert outcome.status is Status.MEASURED, f"allowed, and {_told(outcome)}"
            else:
                assert outcome.status in FAILS, f"{rule.id} forbids it, and {_told(outcome)}"


def candidates(pipeline: str) -> list[dict[str, str]]:
    """Random candidates that the table allows, several levers off their baseline at once."""
    lot = random.Random(pipeline + "!")
    found: list[dict[str, str]] = []
    while len(found) < _RANDOM:
        picked = lot.sample(runnable(pipeline), k=lot.randint(3, 6))
        candidate = dict(baseline(pipeline)) | dict(picked)
        compiling = any(lever.startswith("compile") for lever, _ in picked)
        if forbidden(pipeline, candidate) is None and (ALL or not compiling):
            found.append(candidate)
    return found


@pytest.mark.timeout(0 if ALL else 600)
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_random_legal_candidate_runs_or_fails_by_name(
    pipeline: str, engine: LocalEngine, tmp_path: Path
) -> None:
    for number, candidate in enumerate(candidates(pipeline)):
        spec = spec_of(pipeline, candidate, "random", prepared=str(prepared_folder()))
        _, outcome = run(engine, spec, tmp_path / str(number))
        assert outcome.status.teaches is not Teaches.BUG, f"{candidate}: {_told(outcome)}"
        assert outcome.status.teaches is not Teaches.ENVIRONMENT, f"{candidate}: {_told(outcome)}"
        assert outcome.status is not Status.CRASHED, f"{candidate}: {_told(outcome)}"
        if outcome.status is not Status.MEASURED:
            assert outcome.message


def _told(outcome: Outcome) -> str:
    return f"{outcome.status.sentence} ({outcome.stage}: {outcome.message})"
