"""How soon the search is near the best there is, beside other samplers, on synthetic spaces.

    python tests/benchmarks/search.py [--seeds 20] [--trials 60] [--json FILE]

Every sampler drives a plain Optuna study on the same spaces (``synthetic.py``: assumed costs,
random errors of a good and of a poor estimator; **it ranks strategies and predicts no card**), one
space a seed, with 24, 12 and 8 GB. Infeasible candidates are told as complete with a violated
constraint.

- ``shortlist``: this project's, with the space's predictions.
- ``tpe``: Optuna's, multivariate, with constraints; ``random``: by lot. Neither knows predictions.
  Both know the rules: a forbidden candidate costs them nothing and is no trial.

A ratio is the best time so far over the best of the space. Charged seconds are what the trials
cost until they were within 5 %. Samplers without predictions get five times the trials; where a
seed never got there, all that it spent, so what is printed is the least they would have needed.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from synthetic import BASELINE, GOOD, LEVERS, POOR, make_synthetic

from autotune.records import Status
from autotune.search.pool import Expected, Settings
from autotune.search.recorded import RecordedSpace, Row
from autotune.search.sampler import BUDGET, PEAK, UNTIMED_S, ShortlistSampler

NOISES = {"good": GOOD, "poor": POOR}
BUDGETS_GB = (24, 12, 8)
SAMPLERS = ("shortlist", "tpe", "random")
NEAR = 1.05
_MARKS = (5, 10, 20, 30, 60)
_CARD_GB = 24.0
_LONGER = 5


@dataclass(frozen=True, kw_only=True)
class Run:
    """The best ratio after each trial, and the seconds charged so far."""

    ratios: list[float]
    charged_s: list[float]

    def ratio(self, trials: int) -> float:
        return self.ratios[min(trials, len(self.ratios)) - 1]

    def near_s(self) -> float:
        """Charged seconds until within 5 %, or all there were."""
        near = (s for ratio, s in zip(self.ratios, self.charged_s, strict=True) if ratio <= NEAR)
        return next(near, self.charged_s[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--json", type=Path, help="write every run")
    asked = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    runs: dict[tuple[str, int, str], list[Run]] = {}
    for noise, deviations in NOISES.items():
        for seed in range(asked.seeds):
            space = make_synthetic(seed, deviations, card_gb=_CARD_GB)
            for gb in BUDGETS_GB:
                for name in SAMPLERS:
                    trials = asked.trials * (1 if name == "shortlist" else _LONGER)
                    run = search(space, name, gb * 10**9, seed, trials)
                    runs.setdefault((noise, gb, name), []).append(run)
    for line in report(runs):
        print(line)
    if asked.json:
        rows = [
            {"prior": noise, "gb": gb, "sampler": name, "runs": [vars(run) for run in found]}
            for (noise, gb, name), found in runs.items()
        ]
        asked.json.write_text(json.dumps(rows))


def search(space: RecordedSpace, name: str, budget: int, seed: int, trials: int) -> Run:
    """Run one study against a table."""
    sampler = make_sampler(space, name, budget, seed)
    study = optuna.create_study(sampler=sampler)
    optimum = space.optimum(budget)
    assert optimum is not None
    assert optimum.latency_s is not None
    ratios: list[float] = []
    charged: list[float] = []
    while len(ratios) < trials:
        trial = study.ask()
        chosen = {lever: trial.suggest_categorical(lever, ids) for lever, ids in LEVERS.items()}
        row = space.row(chosen)
        if row is None:
            trial.set_constraint("rule", 1.0)
            study.tell(trial, UNTIMED_S)
            continue
        tell(study, trial, row, budget)
        ratio = row.latency_s / optimum.latency_s if row.fits(budget) else math.inf
        ratios.append(min(ratio, ratios[-1] if ratios else math.inf))
        charged.append(row.cost_s + (charged[-1] if charged else 0.0))
    return Run(ratios=ratios, charged_s=charged)


def tell(study: optuna.Study, trial: optuna.Trial, row: Row, budget: int) -> None:
    """Tell a trial as the table says it ended."""
    if row.peak_bytes is not None:
        trial.set_user_attr(PEAK, row.peak_bytes)
    if row.outcome is Status.MEASURED:
        trial.set_constraint(BUDGET, row.peak_bytes / budget - 1)
    else:
        memory = row.outcome is Status.OUT_OF_VRAM
        trial.set_constraint(BUDGET if memory else "runs", 1.0)
    study.tell(trial, row.latency_s if row.latency_s is not None else UNTIMED_S)


def make_sampler(space: RecordedSpace, name: str, budget: int, seed: int) -> BaseSampler:
    if name == "tpe":
        return TPESampler(seed=seed, multivariate=True)
    if name == "random":
        return RandomSampler(seed=seed)

    def foresee(candidate: Settings) -> Expected | None:
        row = space.row(candidate)
        if row is None or row.predicted is None:
            return None
        return Expected(row.predicted.latency_s, row.predicted.peak_bytes)

    return ShortlistSampler(
        LEVERS,
        baseline=BASELINE,
        foresee=foresee,
        budget_bytes=budget,
        seed=seed,
        listed=100_000,
    )


def report(runs: dict[tuple[str, int, str], list[Run]]) -> Iterator[str]:
    """A line a sampler, and how many times the charged seconds others took."""
    marks = "  ".join(f"{mark:>5}" for mark in _MARKS)
    yield f"prior  budget  sampler    median ratio after {marks}   within 5 % after 20   s to 5 %"
    for (noise, gb, name), found in runs.items():
        medians = "  ".join(
            f"{statistics.median(run.ratio(mark) for run in found):5.2f}" for mark in _MARKS
        )
        near = statistics.mean(run.ratio(20) <= NEAR for run in found)
        spent = statistics.median(run.near_s() for run in found)
        yield (
            f"{noise:5}  {gb:3} GB  {name:9}                      {medians}   {near:19.0%}   "
            f"{spent:8.0f}"
        )
    for other in SAMPLERS[1:]:
        shares = []
        for noise in NOISES:
            for gb in BUDGETS_GB:
                ours, theirs = (
                    statistics.median(run.near_s() for run in runs[noise, gb, name])
                    for name in ("shortlist", other)
                )
                shares.append(theirs / ours)
        listed = ", ".join(f"{share:.1f}" for share in shares)
        yield f"charged seconds to 5 %, {other} / shortlist, at least: {listed}"


if __name__ == "__main__":
    main()
