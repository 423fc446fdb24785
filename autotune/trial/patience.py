"""How long a trial may take, how many steps it makes, and what those it leaves out would take."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from autotune.levers import by_schedule
from autotune.levers.mechanisms.torch_names import is_accelerator
from autotune.records import TrialSpec, Workload
from autotune.trial.guard import GaveUp

#: A first call also fills caches and starts threads: it may take this much longer and still win.
_FIRST_CALL_ALLOWANCE = 3.0
#: Never give up on a first call sooner: start-up costs do not scale with the model. On an
#: accelerator (second entry) kernels are loaded, and cuDNN and cuBLAS started.
_FIRST_CALL_FLOOR_S = (2.0, 15.0)
#: A trial ends itself this long before the engine would end it, so that its outcome is written.
_DEADLINE_RESERVE_S = 2.0
#: Steps at the start of a generation that say nothing, and those after them that say enough.
_UNSETTLED_STEPS, _SETTLED_STEPS = 2, 3
#: Nor do so few seconds of them: in less, a disturbance could not be seen (`quiet`).
_SETTLED_S = 0.3
#: An alarm of zero would never ring.
_SHORTEST_S = 0.001


def patience(
    spec: TrialSpec, spent_s: float, multiple: int, start_up_s: float
) -> tuple[float, str | None]:
    """How long the next call may take, and why not longer.

    It must still be able to win, and the deadline must not be reached: ending here, with an
    outcome, tells a slow candidate from a stuck one.

    Args:
        spec: The trial.
        spent_s: What it took so far.
        multiple: How many of the workload's batches one call makes.
        start_up_s: What the call may take on top, to compile.
    """
    left = max(_SHORTEST_S, spec.deadline_s - _DEADLINE_RESERVE_S - spent_s)
    if spec.give_up_above_s is not None:
        floor = _FIRST_CALL_FLOOR_S[is_accelerator(spec.device)]
        wins = spec.give_up_above_s * multiple
        limit = max(floor, wins * _FIRST_CALL_ALLOWANCE) + start_up_s
        if limit < left:
            why = f"to compile and run once took more than {limit:.3g} s" if start_up_s else None
            return limit, why
    return left, f"the deadline of {spec.deadline_s:.3g} s was reached"


def end_if_hopeless(spec: TrialSpec, forwards_s: Sequence[float], multiple: int) -> None:
    """End a generation whose steps alone will take longer than can win.

    Never from the first steps; and not with a cache, whose later steps cost less.

    Raises:
        GaveUp: If so.
    """
    limit, later = spec.give_up_above_s, forwards_s[_UNSETTLED_STEPS:]
    if limit is None or len(later) < _SETTLED_STEPS or by_schedule(spec.choices):
        return
    if sum(later) < _SETTLED_S:
        return
    # Every step calls the denoiser once at the least.
    least_s = statistics.median(later) * spec.workload.steps / multiple
    if least_s > limit:
        raise GaveUp(
            f"its {spec.workload.steps} steps alone take {least_s:.3g} s, "
            f"{limit:.3g} s would be too much"
        )


def made(spec: TrialSpec) -> Workload:
    """What each generation makes: the workload, with fewer steps if that is asked for."""
    work, few = spec.workload, spec.effort.steps
    return work if few is None else work.but(steps=min(few, work.steps))


def left_out_s(spec: TrialSpec, forwards_s: Sequence[float], multiple: int) -> float:
    """What the steps would have taken that each generation leaves out, from those it has."""
    few, whole = made(spec).steps, spec.workload.steps
    later = forwards_s[_UNSETTLED_STEPS:] or forwards_s
    if few == whole or not later:
        return 0.0
    calls_a_step = len(forwards_s) / few
    return (whole - few) * statistics.median(later) * calls_a_step / multiple
