"""A replay does what a study does, but for the device; and recording gives what it needs."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest

from autotune.records import Outcome, TrialSpec, candidate_key
from autotune.search.recorded import (
    Header,
    Predicted,
    RecordedSpace,
    Row,
    make_space,
    read_recorded,
)
from autotune.search.replay import replay
from autotune.status import Status
from tests.search.factory import BASELINE, make_choices
from tests.search.studies import study
from tests.search.table_engine import World, failed

LEVERS = {lever: tuple("0123") for lever in "abcd"}
PLAIN = dict.fromkeys(LEVERS, "0")


def table(seed: int = 0, *, off: float = 0.1, kind: str = "cuda") -> RecordedSpace:
    """Later choices are faster and larger; predictions are off; a pair crashes, one is barred."""
    lot = random.Random(seed)
    rows = []
    for ids in itertools.product(*LEVERS.values()):
        choices = dict(zip(LEVERS, ids, strict=True))
        if choices["a"] == "3" and choices["b"] == "2":
            continue
        predicted = Predicted(
            latency_s=10 * 0.8 ** sum(map(int, ids)), peak_bytes=1000 + 100 * sum(map(int, ids))
        )
        crashed = choices["c"] == choices["d"] == "3"
        rows.append(
            Row(
                choices=choices,
                outcome=Status.CRASHED if crashed else Status.MEASURED,
                latency_s=None
                if crashed
                else (predicted.latency_s or 0) * lot.lognormvariate(0, off),
                peak_bytes=None if crashed else predicted.peak_bytes,
                cost_s=2.0,
                predicted=predicted,
            )
        )
    header = Header(
        model="m",
        device={"kind": kind, "total_bytes": 3000},
        workload={},
        levers=LEVERS,
        baseline=PLAIN,
    )
    return make_space(header, rows)


@pytest.mark.parametrize("sampler", ["shortlist", "tpe", "random", "grid"])
def test_the_best_only_improves_and_every_trial_is_charged(sampler: str) -> None:
    space = table()
    run = replay(space, budget_bytes=1800, trials=40, sampler=sampler, seed=3)
    assert [step.n for step in run.steps] == list(range(1, 41))
    assert [step.charged_s for step in run.steps] == [2.0 * n for n in range(1, 41)]
    best = [step.best_latency_s for step in run.steps]
    assert best[0] == space.rows[candidate_key(PLAIN)].latency_s
    known = [one for one in best if one is not None]
    assert known == sorted(known, reverse=True)
    optimum = space.optimum(1800)
    assert optimum is not None
    assert known[-1] >= (optimum.latency_s or 0)


def test_a_search_ends_when_nothing_is_left_that_may_fit() -> None:
    space = table()
    run = replay(space, budget_bytes=1250, trials=500, sampler="shortlist", seed=0)
    # A card's peak is predicted to a few per cent: what is 18 % above the budget is never tried.
    may_fit = [
        row
        for row in space.rows.values()
        if row.predicted and (row.predicted.peak_bytes or 0) * 0.87 / 1.03 <= 1250
    ]
    assert len(run.steps) == len(may_fit) < len(space.rows)
    assert run.best_latency_s == (space.optimum(1250) or space).latency_s  # type: ignore[union-attr]


def test_the_optimum_of_256_is_near_after_twenty() -> None:
    for seed in range(5):
        space = table(seed)
        optimum = space.optimum(1900)
        assert optimum is not None
        run = replay(space, budget_bytes=1900, trials=20, sampler="shortlist", seed=seed)
        assert (run.best_latency_s or 99) <= 1.05 * (optimum.latency_s or 0)


def test_the_same_seed_gives_the_same_run() -> None:
    runs = [
        replay(table(), budget_bytes=1800, trials=40, sampler=sampler, seed=seed)
        for sampler in ("shortlist", "random")
        for seed in (1, 1)
    ]
    assert runs[0] == runs[1]
    assert runs[2] == runs[3]


#: Half the time in fp16, whose tiles do not work; fp32 is large.
WORLD = World(
    effects={
        "dtype=fp16": (0.5, 1.0),
        "dtype=fp32": (0.8, 1.4),
        "attention=native-math": (1.3, 1.1),
        "attention=native-flash": (0.9, 1.0),
        "vae-tiling=half": (1.2, 0.8),
        "vae-tiling=quarter": (1.5, 0.7),
    }
)


def answer(spec: TrialSpec) -> Outcome:
    choices = spec.choices
    if choices["dtype"] == "fp16" and choices["vae-tiling"] == "quarter":
        return failed(spec.trial, Status.UNSUPPORTED)
    return WORLD(spec)


def test_a_replay_of_what_a_study_recorded_tries_what_the_study_tries(tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    path = tmp_path / "space.jsonl"
    whole, engine, scribe = study(tmp_path / "all", answer, exhaustive=True, record=path)
    assert f"27 candidates are recorded: {path}" in scribe.sentences
    recorded = read_recorded(path)
    assert len(recorded.rows) == 27
    broken = [row for row in recorded.rows.values() if row.outcome is Status.UNSUPPORTED]
    assert len(broken) == 3
    assert all(row.cost_s > 0 and row.predicted for row in recorded.rows.values())
    # A peak beyond the budget was measured all the same: another budget may hold it.
    assert max(row.peak_bytes or 0 for row in recorded.rows.values()) > 120_000_000
    for seed, trials in ((0, 12), (1, 20)):
        folder = tmp_path / f"{seed}"
        folder.mkdir()
        live, engine, _ = study(folder, answer, seed=seed, trials=trials)
        run = replay(
            recorded, budget_bytes=120_000_000, trials=trials, sampler="shortlist", seed=seed
        )
        tried = [one.why for one in live.history.last_tried()]
        assert [step.why for step in run.steps] == tried
        best = live.history.feasible()[0]
        assert run.best_latency_s == pytest.approx(best.latency_s)
        assert len(engine.tried("screen")) < len(recorded.rows)
    # What was found by trying everything, the search found too.
    assert whole.recipe is not None
    assert live.recipe is not None
    assert live.recipe.choices == whole.recipe.choices
    assert whole.recipe.choices == {**BASELINE, "dtype": "fp16", "attention": "native-flash"}


def test_an_interrupted_study_records_what_it_has(tmp_path: Path) -> None:
    count = 0

    def interrupted(spec: TrialSpec) -> Outcome:
        nonlocal count
        count += 1
        if count == 6:
            raise KeyboardInterrupt
        return WORLD(spec)

    path = tmp_path / "space.jsonl"
    result, _, _ = study(tmp_path, interrupted, record=path, choices=make_choices())
    assert result.interrupted
    assert len(read_recorded(path).rows) == 5
