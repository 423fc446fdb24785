"""When nothing fits: the smallest budget that would do, measured, not guessed.

Choices are run by themselves without an enforced budget, those foreseen to take least first;
the leanest of each lever are put together, and the budget that comes out is tried out as one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from autotune.levers import load_levers
from autotune.records import Candidate, candidate_key
from autotune.search.admission import Admission
from autotune.search.history import History, Tried, binding
from autotune.search.request import SIZE
from autotune.search.runner import Runner
from autotune.search.space import Space, one_change_each
from autotune.status import Status

#: Peaks of two processes differ by a few per cent (allocator, thread timing); on a processor,
#: where glibc's heaps count, by up to fifteen, and a study needs nine processes that hold.
_HEADROOM, _HEADROOM_ON_HOST = 1.05, 1.15
_ROUND_BYTES = 1 << 20
#: Single choices to measure: one of each lever that saves memory, and some to spare.
_MOST_SIZED = 16
#: Each failed attempt at the budget raises it by a tenth.
_ATTEMPTS = 3
_RAISE = 1.10
#: Anything that orders candidates: less is better.
Score = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Needed:
    """The smallest budget that was seen to work, and what stands in the way of a smaller one."""

    budget_bytes: int
    candidate: Candidate
    binds: str | None
    tried_out: bool


def find_needed(runner: Runner, history: History, admission: Admission) -> Needed | None:
    """Measure what the leanest candidate takes; ``None`` if nothing ran even without a budget."""
    peaks: dict[str, Tried] = {}
    for tried in history.tried:
        _keep(peaks, tried)
    for candidate in _lightest_first(history, admission)[:_MOST_SIZED]:
        if candidate_key(candidate) not in peaks:
            _measure(runner, peaks, candidate)
    leanness = {key: (float(one.peak_bytes or 0),) for key, one in peaks.items()}
    together = best_of_each(history.space, leanness, lambda one: admission.broken(one) is None)
    if candidate_key(together) not in peaks:
        _measure(runner, peaks, together)
    if not peaks:
        return None
    changes = history.space.changes
    leanest = min(peaks.values(), key=lambda one: (one.peak_bytes, len(changes(one.candidate))))
    return _try_out(runner, leanest)


def _measure(runner: Runner, peaks: dict[str, Tried], candidate: Candidate) -> None:
    if not runner.time_is_up:
        _keep(peaks, runner.repeat(candidate, "sizing", SIZE, budget_bytes=None))


def _keep(peaks: dict[str, Tried], tried: Tried) -> None:
    if tried.peak_bytes is not None:
        peaks[candidate_key(tried.candidate)] = tried


def _lightest_first(history: History, admission: Admission) -> list[Candidate]:
    """The baseline, then the one-change candidates by what they are foreseen to take.

    What only makes a start longer (compilation) saves no memory and is left out.
    """
    slow = {name for name, lever in load_levers().items() if hasattr(lever, "start_up_s")}
    single = [
        candidate
        for candidate in one_change_each(history.space)
        if admission.broken(candidate) is None
        and not slow & history.space.changes(candidate).keys()
    ]

    def foreseen(candidate: Candidate) -> int:
        return admission.memory(candidate).peak_bytes

    return [history.space.baseline, *sorted(single, key=foreseen)]


def _try_out(runner: Runner, leanest: Tried) -> Needed:
    assert leanest.peak_bytes is not None
    on_host = runner.request.device.kind in ("cpu", "mps")
    headroom = _HEADROOM_ON_HOST if on_host else _HEADROOM
    # A candidate that just missed the budget can peak below it next time: never advise less.
    bytes_ = _rounded(max(leanest.peak_bytes * headroom, runner.request.budget_bytes + 1))
    for _ in range(_ATTEMPTS):
        if runner.time_is_up:
            break
        tried = runner.repeat(leanest.candidate, "sizing", SIZE, budget_bytes=bytes_)
        if tried.outcome.status is Status.MEASURED:
            return _needed(leanest, bytes_, tried_out=True)
        bytes_ = _rounded(bytes_ * _RAISE)
    return _needed(leanest, bytes_, tried_out=False)


def _needed(leanest: Tried, budget_bytes: int, *, tried_out: bool) -> Needed:
    return Needed(
        budget_bytes=budget_bytes,
        candidate=leanest.candidate,
        binds=binding(leanest.outcome),
        tried_out=tried_out,
    )


def _rounded(value: float) -> int:
    return -(-int(value) // _ROUND_BYTES) * _ROUND_BYTES


def best_of_each(
    space: Space, seen: Mapping[str, Score], allowed: Callable[[Candidate], bool]
) -> dict[str, str]:
    """The baseline with each lever at the choice that was best alone, as far as they go together.

    Args:
        space: What can be chosen.
        seen: How good each candidate was, by its key; less is better.
        allowed: Whether a candidate may stand; where two best choices may not stand together,
            the better one is taken.
    """
    better = []
    for lever, ids in space.open_levers.items():
        alone = {id: seen.get(candidate_key({**space.baseline, lever: id})) for id in ids}
        known = {id: score for id, score in alone.items() if score is not None}
        if known:
            best = min(known, key=lambda id: known[id])
            better.append((known[best], lever, best))
    together = dict(space.baseline)
    for _, lever, best in sorted(better):
        if allowed(together | {lever: best}):
            together[lever] = best
    return together
