"""The run-off: which of the fastest, that are nearly equal, goes into the confirmation.

A search measures most candidates once, so that the fastest of several near-equals is the luckiest
(M14). They are run again in turns, in fresh processes, and the simplest of those that tie then
goes on. The confirmation rests on none of this: its processes are its own, so that there is
nothing to correct its verdict for.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence

from autotune.records import Candidate, candidate_key
from autotune.search.history import History, Tried, status_against
from autotune.search.runner import Runner, environment_failed
from autotune.status import Status
from autotune.units import format_duration

#: Who was slower by more in the search is no rival: single processes of a candidate differ by up
#: to that much where nothing disturbs them (the demo: 1 to 4 %).
_NEAR = 0.05
#: Processes of each rival.
_ROUNDS = 2


def run_off(runner: Runner, history: History, reserve_s: float) -> list[Tried]:
    """Run the rivals of the finalist again, if it has any; the history prefers what they show.

    Args:
        runner: What runs trials.
        history: Of the search; what fails now is disproved.
        reserve_s: Of the study's time, what has to be left.

    Returns:
        The trials of those that failed.
    """
    rivals = _rivals(history, runner.request.efforts.finalists)
    cost_s = _ROUNDS * sum(one.whole_s for one in rivals)
    if len(rivals) < 2 or not runner.has_time(cost_s + reserve_s):
        return []
    runner.listener.chapter(f"Run-off of {len(rivals)} that are nearly equal")
    times, failed = _run(runner, history, [one.candidate for one in rivals])
    history.run_off = {key: statistics.median(own) for key, own in times.items() if own}
    best = history.finalist()
    if best is not None and history.run_off:
        seconds = history.run_off.get(candidate_key(best.candidate))
        changes = history.space.changes(best.candidate)
        named = " ".join(f"{lever}={id}" for lever, id in changes.items()) or "baseline"
        took = f", {format_duration(seconds)}" if seconds is not None else ""
        runner.listener.said(f"the run-off goes to {named}{took}")
    return failed


def _rivals(history: History, most: int) -> list[Tried]:
    """Who may be the fastest: the simplest that ties with it, and others in order of their times.

    Not who changes more than another one and was not faster.
    """
    left = history.standing()
    if not left or left[0].latency_s is None:
        return []
    limit = left[0].latency_s * (1 + _NEAR)
    near = [one for one in left if one.latency_s is not None and one.latency_s <= limit]
    if any(one.candidate == history.space.baseline for one in near):
        # Then there is next to nothing to gain, and the confirmation says so.
        return []
    changes = {one.number: history.space.changes(one.candidate).items() for one in near}

    def needless(one: Tried) -> bool:
        return any(
            changes[other.number] < changes[one.number]
            and (other.latency_s or 0.0) <= (one.latency_s or 0.0)
            for other in near
        )

    first = history.finalist()
    others = [one for one in near if one is not first and not needless(one)]
    return [*([first] if first else []), *others][:most]


def _run(
    runner: Runner, history: History, rivals: Sequence[Candidate]
) -> tuple[dict[str, list[float]], list[Tried]]:
    """The times of each, and the trials of those that failed."""
    failed: list[Tried] = []
    order = random.Random(runner.request.seed)
    budget, effort = runner.request.budget_bytes, runner.request.efforts.confirm
    times: dict[str, list[float]] = {candidate_key(one): [] for one in rivals}
    for _ in range(_ROUNDS):
        for candidate in order.sample(rivals, len(rivals)):
            key = candidate_key(candidate)
            if key in history.disproved or runner.time_is_up:
                continue
            tried = runner.repeat(candidate, "run-off", effort, budget_bytes=budget)
            tried = runner.gate.judged(tried)
            status = status_against(tried, budget)
            if status is Status.MEASURED and tried.latency_s is not None:
                times[key].append(tried.latency_s)
            elif not environment_failed(tried.outcome):
                history.disprove(tried)
                failed.append(tried)
    return times, failed
