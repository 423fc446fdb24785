"""Confirmation: in turns, under the budget, and whose fault a failure is."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from autotune.errors import CannotRun
from autotune.records import Candidate, Outcome, TrialSpec, candidate_key
from autotune.search.confirm import Confirmed, confirm
from autotune.search.history import History
from autotune.search.listener import Silence
from autotune.search.request import STANDARD
from autotune.search.runner import Runner
from autotune.stats.compare import Verdict
from autotune.status import Status
from tests.search.factory import BASELINE, make_choices, make_request, make_space
from tests.search.table_engine import Answer, TableEngine, World, failed, measured

FAST: Candidate = {**BASELINE, "dtype": "fp16"}
WORLD = World(effects={"dtype=fp16": (0.5, 0.5)}, noise=0.01)


def runner_for(answer: Answer, folder: Path, stop_at: float | None = None) -> Runner:
    request = make_request(folder)
    return Runner(
        engine=TableEngine(choices=make_choices(), answer=answer),
        request=request,
        listener=Silence(),
        history=History(space=make_space(), budget_bytes=request.budget_bytes),
        stop_at=stop_at,
    )


def engine_of(runner: Runner) -> TableEngine:
    assert isinstance(runner.engine, TableEngine)
    return runner.engine


def run(answer: Answer, folder: Path, finalist: Candidate = FAST) -> tuple[Confirmed, TableEngine]:
    runner = runner_for(answer, folder)
    return confirm(runner, finalist, BASELINE), engine_of(runner)


def nth(which: int, candidate: Candidate, instead: Callable[[TrialSpec], Outcome]) -> Answer:
    """WORLD, but the n-th process of a candidate ends otherwise."""
    seen = 0

    def answer(spec: TrialSpec) -> Outcome:
        nonlocal seen
        seen += dict(spec.choices) == candidate
        hit = dict(spec.choices) == candidate and seen == which
        return instead(spec) if hit else WORLD(spec)

    return answer


def fails(status: Status) -> Callable[[TrialSpec], Outcome]:
    return lambda spec: failed(spec.trial, status)


def test_a_clear_difference_takes_four_processes_a_side_in_turns(tmp_path: Path) -> None:
    confirmed, engine = run(WORLD, tmp_path)
    assert confirmed.compared is not None
    assert confirmed.compared.verdict is Verdict.FASTER
    assert confirmed.compared.ratio == pytest.approx(2.0, rel=0.1)
    order = [dict(spec.choices)["dtype"] for spec in engine.specs]
    assert len(order) == 2 * STANDARD.pairs
    pairs = [set(order[at : at + 2]) for at in range(0, len(order), 2)]
    assert pairs == [{"fp16", "bf16"}] * STANDARD.pairs
    assert order[::2] != ["fp16"] * STANDARD.pairs  # drawn: neither side always goes first
    assert order[::2] != ["bf16"] * STANDARD.pairs


def test_the_finalist_runs_under_the_budget_and_the_baseline_without(tmp_path: Path) -> None:
    _, engine = run(WORLD, tmp_path)
    for spec in engine.specs:
        assert spec.purpose == "confirm"
        assert (spec.budget_bytes is None) == (dict(spec.choices) == BASELINE)


def test_processes_that_overlap_cannot_say_and_cost_no_more_than_twice_the_pairs(
    tmp_path: Path,
) -> None:
    confirmed, engine = run(World(noise=0.2), tmp_path)
    assert confirmed.compared is not None
    assert confirmed.compared.verdict is Verdict.CANNOT_SAY
    assert len(engine.specs) == 4 * STANDARD.pairs


def test_a_finalist_that_is_the_baseline_is_run_alone_under_the_budget(tmp_path: Path) -> None:
    confirmed, engine = run(WORLD, tmp_path, finalist=BASELINE)
    assert confirmed.is_baseline
    assert confirmed.compared is None
    assert len(engine.specs) == STANDARD.pairs
    assert {spec.budget_bytes for spec in engine.specs} == {120_000_000}


@pytest.mark.parametrize(
    "status", [Status.OVER_BUDGET, Status.UNSUPPORTED, Status.BAD_OUTPUT, Status.TOO_SLOW]
)
def test_a_finalist_that_fails_once_has_failed(tmp_path: Path, status: Status) -> None:
    confirmed, _ = run(nth(3, FAST, fails(status)), tmp_path)
    assert confirmed.failed is not None
    assert confirmed.failed.outcome.status is status
    assert confirmed.failed.candidate == FAST
    assert not confirmed.cut_short


def test_a_peak_above_the_budget_fails_although_the_engine_did_not_enforce_it(
    tmp_path: Path,
) -> None:
    def large(spec: TrialSpec) -> Outcome:
        return measured(spec.but(budget_bytes=None), (0.5, 0.5), 130_000_000)

    confirmed, _ = run(nth(2, FAST, large), tmp_path)
    assert confirmed.failed is not None
    assert confirmed.failed.outcome.status is Status.OVER_BUDGET


def test_a_crash_gets_a_second_chance_and_no_third(tmp_path: Path) -> None:
    confirmed, engine = run(nth(2, FAST, fails(Status.CRASHED)), tmp_path)
    assert confirmed.failed is None
    assert len(engine.specs) == 2 * STANDARD.pairs + 1

    def crashes(spec: TrialSpec) -> Outcome:
        return failed(spec.trial, Status.CRASHED) if spec.budget_bytes else WORLD(spec)

    confirmed, _ = run(crashes, tmp_path)
    assert confirmed.failed is not None
    assert confirmed.failed.outcome.status is Status.CRASHED


def test_a_process_that_the_environment_ended_is_run_again(tmp_path: Path) -> None:
    confirmed, engine = run(nth(2, FAST, fails(Status.KILLED)), tmp_path)
    assert confirmed.compared is not None
    assert confirmed.compared.verdict is Verdict.FASTER
    assert len(engine.specs) == 2 * STANDARD.pairs + 1


def test_an_environment_that_keeps_failing_ends_the_study(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="no space left on the disk 3 times"):
        run(fails(Status.DISK_FULL), tmp_path)


def test_a_baseline_that_breaks_is_not_the_finalists_fault(tmp_path: Path) -> None:
    confirmed, engine = run(nth(2, BASELINE, fails(Status.OUT_OF_RAM)), tmp_path)
    assert confirmed.failed is None
    assert confirmed.baseline is None
    assert confirmed.compared is None
    assert len(confirmed.finalist.outcomes) == STANDARD.pairs
    assert len(engine.tried("confirm")) == STANDARD.pairs + 2


def test_without_time_nothing_more_is_started(tmp_path: Path) -> None:
    runner = runner_for(WORLD, tmp_path, stop_at=0.0)
    confirmed = confirm(runner, FAST, BASELINE)
    assert confirmed.cut_short
    assert confirmed.failed is None
    assert engine_of(runner).specs == []


def test_a_finalist_whose_processes_differ_by_a_tenth_does_not_win(tmp_path: Path) -> None:
    seconds = itertools.cycle((0.4, 0.6, 0.5, 0.7))

    def shaky(spec: TrialSpec) -> Outcome:
        if dict(spec.choices) != FAST:
            return WORLD(spec)
        return measured(spec, (next(seconds),) * 2, 50_000_000)

    confirmed, _ = run(shaky, tmp_path)
    assert confirmed.compared is not None
    assert confirmed.compared.verdict is Verdict.CANNOT_SAY
    assert confirmed.compared.ratio == pytest.approx(1 / 0.55, rel=0.05)
    assert confirmed.compared.why.endswith("from process to process: too unstable to win")


def wandering(gain: float) -> Answer:
    """A machine that is up to half again as slow, from pair to pair."""
    lots: dict[str, random.Random] = {}

    def answer(spec: TrialSpec) -> Outcome:
        key = candidate_key(spec.choices)
        # Both sides draw the same: the n-th processes of both are a pair.
        now = lots.setdefault(key, random.Random(3)).uniform(1.0, 1.5)
        seconds = now * (1 / gain if dict(spec.choices) == FAST else 1.0)
        return measured(spec, (seconds,) * spec.effort.samples, 50_000_000)

    return answer


def test_what_four_pairs_cannot_say_eight_may(tmp_path: Path) -> None:
    confirmed, engine = run(wandering(1.1), tmp_path)
    assert len(engine.specs) == 4 * STANDARD.pairs
    assert confirmed.compared is not None
    assert (confirmed.compared.verdict, confirmed.compared.paired) == (Verdict.FASTER, True)
    assert confirmed.compared.ratio == pytest.approx(1.1)


def test_a_difference_that_is_worth_nothing_gets_no_more_pairs(tmp_path: Path) -> None:
    confirmed, engine = run(wandering(1.01), tmp_path)
    assert len(engine.specs) == 2 * STANDARD.pairs
    assert confirmed.compared is not None
    assert confirmed.compared.verdict is Verdict.CANNOT_SAY


def test_no_more_pairs_are_begun_than_there_is_time_for(tmp_path: Path) -> None:
    runner = runner_for(wandering(1.1), tmp_path, stop_at=time.monotonic() + 60)
    engine = engine_of(runner)
    engine.takes_s = 0.1
    runner.stop_at = time.monotonic() + 1.2  # four pairs take 0.8 s
    confirmed = confirm(runner, FAST, BASELINE)
    assert len(engine.specs) == 2 * STANDARD.pairs
    assert confirmed.compared is not None
    assert confirmed.compared.verdict is Verdict.CANNOT_SAY


def test_pairs_that_time_cuts_off_leave_the_verdict_of_those_before(tmp_path: Path) -> None:
    runner = runner_for(wandering(1.1), tmp_path, stop_at=time.monotonic() + 60)
    engine = engine_of(runner)

    def takes_s(_: TrialSpec) -> float:
        if len(engine.specs) == 2 * STANDARD.pairs + 3:
            runner.stop_at = 0.0
        return 0.0

    engine.takes_s = takes_s
    confirmed = confirm(runner, FAST, BASELINE)
    assert not confirmed.cut_short
    assert confirmed.baseline is not None
    assert len(confirmed.finalist.outcomes) == len(confirmed.baseline.outcomes) == STANDARD.pairs
