"""Make the recipe of a study: winner, evidence, what was refused, and the frontier."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import autotune
from autotune.models.given import kinds_needed
from autotune.quality import summed_up, worst
from autotune.recipe.schema import (
    Against,
    Bought,
    Budget,
    Comparison,
    EvidenceBlock,
    FrontierPoint,
    Measured,
    Quality,
    Recipe,
    RecipeGiven,
    RecipeModel,
    Refused,
)
from autotune.records import Candidate, Likeness, Model, Outcome, candidate_key
from autotune.search.break_even import find_break_even
from autotune.search.confirm import Confirmed
from autotune.search.gate import Gate
from autotune.search.history import (
    History,
    Tried,
    binding,
    first_of,
    status_against,
    times_of,
)
from autotune.search.request import Request
from autotune.stats.compare import Verdict
from autotune.status import Status, Teaches
from autotune.units import format_bytes

#: More than anyone reads; the run folder has them all.
_MOST_REFUSED = 40


@dataclass(frozen=True, kw_only=True)
class Winner:
    """What is published, as measured, and why it won."""

    measured: Measured
    baseline: Measured | None
    comparison: Comparison
    confirmed: bool
    #: The trial whose pictures were the least like the baseline's, and how like they were.
    trial: str | None = None
    likeness: Likeness | None = None
    #: Of a screen, how many steps it ran, if they were fewer than the workload's.
    steps: int | None = None
    runner_up: Refused | None = None
    bought: tuple[Bought, ...] = ()
    against: tuple[Against, ...] = ()


def winner_of(confirmed: Confirmed, request: Request) -> Winner:
    """Decide between finalist and baseline: only what is proven faster replaces the baseline."""
    ours = confirmed.finalist
    finalist = measured(ours.candidate, ours.outcomes, ours.others)
    trial, likeness = _least_alike(ours.outcomes)
    if confirmed.baseline is None or confirmed.compared is None:
        return Winner(
            measured=finalist,
            baseline=None,
            comparison=_alone(Verdict.IS_BASELINE if confirmed.is_baseline else None),
            confirmed=True,
            trial=trial,
            likeness=likeness,
        )
    baseline = measured(confirmed.baseline.candidate, confirmed.baseline.outcomes)
    compared = confirmed.compared
    if compared.verdict is Verdict.FASTER or baseline.peak_bytes > request.budget_bytes:
        comparison = Comparison(
            verdict=compared.verdict,
            ratio=compared.ratio,
            ratio_low=compared.low,
            ratio_high=compared.high,
            why=compared.why,
        )
        return Winner(
            measured=finalist,
            baseline=baseline,
            comparison=comparison,
            confirmed=True,
            trial=trial,
            likeness=likeness,
        )
    beaten = Refused(
        choices=finalist.choices,
        status=Status.MEASURED,
        reason=f"not proven faster than the baseline ({compared.verdict}): {compared.why}",
        latency_s=finalist.seconds(request.objective),
        peak_bytes=finalist.peak_bytes,
    )
    trial, likeness = _least_alike(confirmed.baseline.outcomes)
    return Winner(
        measured=baseline,
        baseline=None,
        comparison=_alone(Verdict.IS_BASELINE),
        confirmed=True,
        trial=trial,
        likeness=likeness,
        runner_up=beaten,
    )


def provisional_winner(best: Tried, history: History) -> Winner:
    """The best of the search, where there was no time to confirm it."""
    is_baseline = best.candidate == history.space.baseline
    return Winner(
        measured=measured(best.candidate, [best.outcome]),
        baseline=None,
        comparison=_alone(Verdict.IS_BASELINE if is_baseline else None),
        confirmed=False,
        trial=best.outcome.trial,
        likeness=best.outcome.likeness,
        steps=best.steps,
    )


def compose(
    request: Request, history: History, winner: Winner, gate: Gate, *, trials: int, seconds: float
) -> Recipe:
    """Put the recipe together."""
    model = request.model
    refused = _refused(history, winner)
    efforts = request.efforts
    return Recipe(
        writer=f"autotune {autotune.__version__}",
        status="confirmed" if winner.confirmed else "provisional",
        model=RecipeModel(
            id=model.id,
            revision=model.revision,
            source=model.source,
            pipeline=model.pipeline,
            weights=model.weights,
            given=_given(model, winner.measured.choices),
        ),
        workload=model.workload,
        budget=Budget(
            asked=request.budget_asked, bytes=request.budget_bytes, emulated=request.emulated
        ),
        objective=str(request.objective),
        choices=winner.measured.choices,
        evidence=EvidenceBlock(
            winner=winner.measured,
            baseline=winner.baseline,
            comparison=winner.comparison,
            quality=_quality(winner, gate),
            effort=efforts.confirm if winner.confirmed else efforts.screen.but(steps=winner.steps),
            against=winner.against,
            bought=winner.bought,
            break_even=find_break_even(history, winner.measured.choices),
            trials=trials,
            seconds=seconds,
        ),
        refused=tuple(refused[:_MOST_REFUSED]),
        frontier=tuple(
            FrontierPoint(
                peak_bytes=one.peak_bytes or 0,
                latency_s=one.latency_s or 0.0,
                choices=one.candidate,
            )
            for one in history.frontier()
        ),
        fingerprint=request.fingerprint,
    )


def measured(
    candidate: Candidate, outcomes: Sequence[Outcome], others: Sequence[Outcome] = ()
) -> Measured:
    """What the processes of one candidate say together; of others only the peaks count."""
    processes = tuple(map(times_of, outcomes))
    firsts_s, loads_s = _all([*map(first_of, outcomes)]), _all([one.load_s for one in outcomes])
    every = (*outcomes, *others)
    peaks = [outcome.memory for outcome in every if outcome.memory is not None]
    highest = max(peaks, key=lambda memory: memory.peak_bytes)
    worst = next(outcome for outcome in every if outcome.memory is highest)
    return Measured(
        choices=candidate,
        processes_s=processes,
        latency_s=statistics.median(statistics.median(one) for one in processes),
        first_s=statistics.median(firsts_s) if firsts_s else None,
        load_s=statistics.median(loads_s) if loads_s else None,
        firsts_s=firsts_s,
        loads_s=loads_s,
        peak_bytes=highest.peak_bytes,
        phases_bytes=highest.phases,
        host_bytes=max(
            (one.host_bytes for one in peaks if one.host_bytes is not None), default=None
        ),
        binds=binding(worst),
        discarded=sum(len(outcome.discarded) for outcome in outcomes),
        disturbed=sum(outcome.disturbed is not None for outcome in outcomes),
        engaged=outcomes[-1].engaged,
    )


def _given(model: Model, choices: Candidate) -> tuple[RecipeGiven, ...]:
    """The files that the choices are made of, by what they hold."""
    kinds = kinds_needed(choices)
    return tuple(
        RecipeGiven(component=one.component, kind=one.kind, digest=one.digest)
        for one in model.given
        if one.kind in kinds
    )


def _refused(history: History, winner: Winner) -> list[Refused]:
    """Everything that was tried or asked for and cannot be had, most tempting first."""
    found = [winner.runner_up] if winner.runner_up else []
    for tried in history.last_tried():
        broken = history.disproved.get(candidate_key(tried.candidate))
        status = status_against(broken or tried, history.budget_bytes)
        # What the environment broke was not refused, it was not tried.
        refused = status.teaches is Teaches.CANDIDATE
        if not refused or tried.candidate == winner.measured.choices:
            continue
        found.append(
            Refused(
                choices=tried.candidate,
                status=status,
                reason=_reason(
                    broken or tried,
                    status,
                    again=broken is not None and broken.number != tried.number,
                ),
                latency_s=tried.latency_s,
                peak_bytes=(broken or tried).peak_bytes,
            )
        )
    for candidate, reason in history.refused.values():
        found.append(Refused(choices=candidate, status=Status.UNSUPPORTED, reason=reason))
    return sorted(found, key=lambda one: (one.latency_s is None, one.latency_s or 0.0))


def _reason(tried: Tried, status: Status, *, again: bool) -> str:
    reason = tried.outcome.message or status.sentence
    if status is Status.OVER_BUDGET and tried.peak_bytes is not None:
        binds = binding(tried.outcome)
        reason = f"needs {format_bytes(tried.peak_bytes)}" + (f" ({binds})" if binds else "")
    return f"in a fresh process, {reason}" if again else reason


def _alone(verdict: Verdict | None) -> Comparison:
    if verdict is Verdict.IS_BASELINE:
        why = "nothing was proven faster than the baseline"
    else:
        verdict, why = Verdict.CANNOT_SAY, "there is no confirmed baseline to compare with"
    return Comparison(verdict=verdict, ratio=None, ratio_low=None, ratio_high=None, why=why)


def _quality(winner: Winner, gate: Gate) -> Quality:
    likeness = winner.likeness
    if gate.off is not None:
        found = f" ({summed_up(likeness)})" if likeness else ""
        why, assessed = f"{gate.off}{found}", False
    elif likeness is not None:
        why, assessed = f"{gate.quality} was asked for: {summed_up(likeness)}", True
    elif winner.comparison.verdict is Verdict.IS_BASELINE:
        why, assessed = "this is the baseline, which others are compared with", False
    elif winner.steps is not None:
        why, assessed = "not all steps were run", False
    else:
        why, assessed = "the baseline did not run here: there is nothing to compare with", False
    return Quality(
        health="passed",
        fidelity="assessed" if assessed else "not assessed",
        why=why,
        asked=gate.quality,
        likeness=likeness,
        noise=gate.noise,
    )


def _least_alike(outcomes: Sequence[Outcome]) -> tuple[str, Likeness | None]:
    """The trial whose pictures were the least like the baseline's; else the first."""
    compared = [(one.trial, one.likeness) for one in outcomes if one.likeness is not None]
    return min(compared, key=lambda one: worst(one[1]).ssim, default=(outcomes[0].trial, None))


def _all(values: Sequence[float | None]) -> tuple[float, ...]:
    """The values where every process has one, else none."""
    known = tuple(value for value in values if value is not None)
    return known if len(known) == len(values) else ()
