"""Make a recorded space of what a study measured: ``suggest --record FILE``."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.records import candidate_key
from autotune.search.foresight import Foresight
from autotune.search.history import Tried, latency_of
from autotune.search.hunt import Hunt
from autotune.search.recorded import Header, Predicted, RecordedSpace, Row, make_space
from autotune.search.runner import environment_failed
from autotune.status import Status


def record(hunts: Sequence[Hunt]) -> RecordedSpace | None:
    """What was tried of a space for all budgets, ``None`` if it was nothing.

    What the environment broke is left out. A candidate that was measured above the budget is
    recorded as measured: a replay has its own.
    """
    request, foresight = hunts[0].request, hunts[0].foresight
    space = foresight.space
    found = {
        candidate_key(one.candidate): one
        for hunt in hunts
        for one in hunt.history.own
        if not environment_failed(one.outcome)
    }
    if not found:
        return None
    model, device = request.model, request.device
    header = Header(
        model={
            "id": model.id,
            "revision": model.revision,
            "pipeline": model.pipeline,
            "weights": model.weights,
        },
        device={
            "kind": device.kind,
            "name": device.name,
            "total_bytes": device.total_bytes,
            "budget_bytes": request.budget_bytes,
            "fingerprint": request.fingerprint.model_dump(mode="json"),
        },
        workload=model.workload.model_dump(mode="json"),
        levers={lever: tuple(one.id for one in ids) for lever, ids in space.levers.items()},
        baseline=space.baseline,
    )
    return make_space(header, (_row(one, foresight) for one in found.values()))


def _row(tried: Tried, foresight: Foresight) -> Row:
    status = tried.outcome.status
    whole = tried.latency_s is not None and tried.peak_bytes is not None
    expected = foresight.expect(tried.candidate)
    return Row(
        choices=tried.candidate,
        outcome=Status.MEASURED if whole and status is Status.OVER_BUDGET else status,
        latency_s=latency_of(tried.outcome),
        peak_bytes=tried.peak_bytes,
        cost_s=tried.cost_s,
        predicted=Predicted(
            latency_s=expected.latency_s,
            peak_bytes=None if expected.peak_bytes is None else round(expected.peak_bytes),
        )
        if expected
        else None,
        quality=one.model_dump(mode="json") if (one := tried.outcome.likeness) else None,
    )
