"""Does a recipe still hold, here? Its choices once more, in fresh processes, under its budget."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import autotune
from autotune.engine.base import Engine
from autotune.recipe.check import Check
from autotune.recipe.schema import Budget, Comparison, EvidenceBlock, Measured, Recipe
from autotune.records import Device, Fidelity, Fingerprint, Machine, Model
from autotune.search.calm import was_spoilt
from autotune.search.confirm import Side, confirm
from autotune.search.definition import Definition
from autotune.search.history import History, Tried
from autotune.search.listener import Listener
from autotune.search.publish import measured
from autotune.search.request import EFFORTS, STANDARD, Request
from autotune.search.runner import Runner
from autotune.search.space import Space
from autotune.stats.compare import Verdict

#: By how much a time may lie outside of what the recipe's processes took.
WITHIN = 0.05


class Holding(StrEnum):
    """What became of a recipe. The sentence beside each member is what the user reads."""

    HOLDS = "holds"
    FASTER = "faster"
    SLOWER = "slower"
    TOO_LARGE = "too large"
    FAILS = "fails"
    CANNOT_SAY = "cannot say"

    @property
    def sentence(self) -> str:
        """What happened, for people."""
        return _SENTENCES[self]

    @property
    def good(self) -> bool:
        """Whether the recipe can be used here as it is."""
        return self in (Holding.HOLDS, Holding.FASTER)


_SENTENCES = {
    Holding.HOLDS: "it holds",
    Holding.FASTER: "it holds, and is faster than recorded",
    Holding.SLOWER: "it is slower than recorded",
    Holding.TOO_LARGE: "it needs more memory than its budget",
    Holding.FAILS: "it does not run here",
    Holding.CANNOT_SAY: "cannot say: other programs disturbed it, and it was slower than recorded",
}


@dataclass(frozen=True, kw_only=True)
class Verified:
    """A recipe beside what was measured here.

    ``low_s`` and ``high_s`` are the fastest and the slowest of the recipe's processes, and
    ``within`` the share by which the time here may lie outside of them. ``failed``
    is the trial that broke it; then there is no ``winner``.
    """

    recipe: Recipe
    check: Check
    holding: Holding
    low_s: float
    high_s: float
    winner: Measured | None
    failed: Tried | None
    seconds: float
    folder: Path
    fingerprint: Fingerprint
    device: Device
    within: float = WITHIN
    #: Where the recipe with these numbers was written, if it was asked for and holds.
    recipe_path: Path | None = None

    @property
    def ratio(self) -> float | None:
        """The time here over the recorded one."""
        aim = self.recipe.aim
        if self.winner is None:
            return None
        return self.winner.seconds(aim) / self.recipe.evidence.winner.seconds(aim)


def verification(
    recipe: Recipe, model: Model, machine: Machine, device: Device, here: Fingerprint, folder: Path
) -> Request:
    """What is asked of the engine: the recipe's choices, workload, budget and effort."""
    return Request(
        model=model,
        machine=machine,
        device=device,
        fingerprint=here,
        budget_asked=recipe.budget.asked,
        budget_bytes=recipe.budget.bytes,
        emulated=recipe.budget.emulated,
        definition=Definition(),
        quality=Fidelity.ANY,
        ram_bytes=None,
        pins={},
        trials=1,
        time_s=None,
        seed=0,
        folder=folder,
        recipe_path=folder / "recipe.json",
        overwrite=False,
        objective=recipe.aim,
        efforts=EFFORTS.get(recipe.evidence.effort.name, STANDARD),
    )


def verify_recipe(
    recipe: Recipe,
    check: Check,
    request: Request,
    engine: Engine,
    listener: Listener,
    within: float = WITHIN,
) -> Verified:
    """Measure the recipe again, and judge.

    Raises:
        CannotRun: If the environment gives out.
    """
    start = time.monotonic()
    listener.chapter("Once more")
    confirmed = confirm(runner_of(recipe, request, engine, listener), recipe.choices, None)
    times_s = recipe.evidence.winner.times_s(recipe.aim)
    medians = [statistics.median(one) for one in times_s]
    winner = None
    if confirmed.failed is None:
        winner = measured(recipe.choices, confirmed.finalist.outcomes)
    return Verified(
        recipe=recipe,
        check=check,
        holding=_judge(confirmed.finalist, confirmed.failed, medians, request, within),
        within=within,
        low_s=min(medians),
        high_s=max(medians),
        winner=winner,
        failed=confirmed.failed,
        seconds=time.monotonic() - start,
        folder=request.folder,
        fingerprint=request.fingerprint,
        device=request.device,
    )


def runner_of(recipe: Recipe, request: Request, engine: Engine, listener: Listener) -> Runner:
    """A runner for trials that belong to no search."""
    baseline = recipe.evidence.baseline
    space = Space(
        levers={}, baseline=baseline.choices if baseline else recipe.choices, left_out=()
    )
    history = History(space=space, budget_bytes=request.budget_bytes)
    return Runner(engine=engine, request=request, listener=listener, history=history)


def _judge(
    side: Side,
    failed: Tried | None,
    recorded_s: Sequence[float],
    request: Request,
    within: float,
) -> Holding:
    if failed is not None:
        large = failed.peak_bytes is not None and failed.peak_bytes > request.budget_bytes
        over = failed.outcome.status in ("over_budget", "out_of_vram")
        return Holding.TOO_LARGE if large or over else Holding.FAILS
    seconds = statistics.median(map(statistics.median, side.processes_s))
    if seconds < min(recorded_s) * (1 - within):
        return Holding.FASTER
    if seconds > max(recorded_s) * (1 + within):
        return Holding.CANNOT_SAY if any(map(was_spoilt, side.outcomes)) else Holding.SLOWER
    return Holding.HOLDS


def rewritten(verified: Verified, *, emulated: bool) -> Recipe:
    """The recipe with what was measured here in place of what it said.

    What was measured elsewhere, the baseline and all that was refused, is left out.
    """
    assert verified.winner is not None
    recipe = verified.recipe
    return recipe.but(
        writer=f"autotune {autotune.__version__}",
        status="confirmed",
        budget=Budget(asked=recipe.budget.asked, bytes=recipe.budget.bytes, emulated=emulated),
        evidence=EvidenceBlock(
            winner=verified.winner,
            baseline=None,
            comparison=Comparison(
                verdict=Verdict.CANNOT_SAY,
                ratio=None,
                ratio_low=None,
                ratio_high=None,
                why="only the recipe itself was measured again, no baseline",
            ),
            quality=recipe.evidence.quality,
            effort=recipe.evidence.effort.but(steps=None),
            trials=max(1, len(verified.winner.processes_s)),
            seconds=verified.seconds,
        ),
        refused=(),
        frontier=(),
        fingerprint=verified.fingerprint,
    )
