"""Search a recorded space instead of a device: the same proposals, admission and verdicts.

A table answers at once what a trial would take minutes for, so samplers can be compared over many
seeds; what the trials cost when they were recorded is charged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from autotune.estimate.laws import law_of
from autotune.records import Choice, DeviceKind, candidate_key
from autotune.search.pool import Expected, Settings
from autotune.search.recorded import RecordedSpace
from autotune.search.samplers import make_proposals
from autotune.search.space import Space
from autotune.search.verdict import judge

#: A table is at hand, so spaces are listed that a study, which foresees each candidate, does not.
_LISTED = 100_000


@dataclass(frozen=True, kw_only=True)
class Step:
    """After ``n`` trials: the best time within the budget, and what all of them cost."""

    n: int
    why: str
    best_latency_s: float | None
    charged_s: float


@dataclass(frozen=True, kw_only=True)
class Run:
    """One search with one seed."""

    seed: int
    steps: tuple[Step, ...]

    @property
    def best_latency_s(self) -> float | None:
        """The best time at the end."""
        return self.steps[-1].best_latency_s if self.steps else None

    def after(self, trials: int) -> Step:
        """The last of so many steps, or of all if there are fewer."""
        return self.steps[min(trials, len(self.steps)) - 1]


def replay(
    table: RecordedSpace, *, budget_bytes: int, trials: int, sampler: str, seed: int
) -> Run:
    """Search a table once.

    Args:
        table: The space with what was measured of it.
        budget_bytes: What peaks have to stay within.
        trials: The most candidates to try.
        sampler: By name, as for a study.
        seed: Of the sampler.

    Raises:
        BadInput: If there is no such sampler, or it cannot list the space.
    """
    space = space_of(table)
    refused_above = _refused_above(table, budget_bytes)

    def expect(settings: Settings) -> Expected | None:
        candidate = {**space.baseline, **{lever: str(id) for lever, id in settings.items()}}
        row = table.row(candidate)
        if row is None:
            return None  # a rule forbids it, or it was not recorded
        peak = row.predicted.peak_bytes if row.predicted else None
        if peak is not None and peak > refused_above and candidate != space.baseline:
            return None
        return Expected(row.predicted.latency_s if row.predicted else None, peak)

    proposals = make_proposals(
        space,
        expect,
        sampler=sampler,
        budget_bytes=budget_bytes,
        trials=trials,
        seed=seed,
        listed=_LISTED,
        all_=[row.choices for row in table.rows.values()],
    )
    steps: list[Step] = []
    best, charged_s = None, 0.0
    while len(steps) < trials and (proposal := proposals.ask()) is not None:
        row = table.rows[candidate_key(proposal.candidate)]
        judged = judge(row.outcome, row.latency_s, row.peak_bytes, budget_bytes)
        proposals.tell(proposal, judged, len(steps) + 1)
        charged_s += row.cost_s
        if judged.fits and judged.latency_s is not None:
            best = judged.latency_s if best is None else min(best, judged.latency_s)
        steps.append(
            Step(n=len(steps) + 1, why=proposal.why, best_latency_s=best, charged_s=charged_s)
        )
    return Run(seed=seed, steps=tuple(steps))


def space_of(table: RecordedSpace) -> Space:
    """The space of a table, all of whose choices can be had."""
    header = table.header
    levers: Mapping[str, tuple[Choice, ...]] = {
        lever: tuple(
            Choice(lever=lever, id=id, what=id, baseline=id == header.baseline[lever])
            for id in ids
        )
        for lever, ids in header.levers.items()
    }
    return Space(levers=levers, baseline=header.baseline, left_out=())


def _refused_above(table: RecordedSpace, budget_bytes: int) -> float:
    """The predicted peak above which a candidate surely does not fit, as admission judges it."""
    device = table.header.device
    kind = device.get("kind") if isinstance(device, dict) else None
    law = law_of(kind if kind in get_args(DeviceKind) else "cuda")  # type: ignore[arg-type]
    return budget_bytes / law.surely
