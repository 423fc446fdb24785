"""A study from first to last: baseline, search, confirmation, recipe (design §7).

One coordinator asks, runs and tells; outcome files in the run folder are the truth. Several
budgets are answered from the same trials, the largest first: a peak that was measured once serves
them all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from autotune.engine.base import Engine
from autotune.errors import CannotRun, NoResult
from autotune.estimate.ceilings import Ceilings, known_ceilings
from autotune.estimate.profile import PROFILE, Profile, bare_profile, read_profile
from autotune.recipe.schema import Recipe
from autotune.recipe.write import write_recipe
from autotune.records import Choice, InspectSpec, candidate_key
from autotune.search.admission import Admission
from autotune.search.disk import reserve
from autotune.search.doubt import make_doubt
from autotune.search.drift import Drifted
from autotune.search.funnel import count_funnel
from autotune.search.gate import make_gate
from autotune.search.history import History
from autotune.search.hunt import Hunt
from autotune.search.kept import Kept, read_kept
from autotune.search.listener import Listener
from autotune.search.needed import Needed
from autotune.search.publish import Winner, compose
from autotune.search.recorded import write_recorded
from autotune.search.recording import record
from autotune.search.request import Request
from autotune.search.ruled import refuse_pins, ruled
from autotune.search.runner import Runner
from autotune.search.showcase import write_showcase
from autotune.search.space import build_space
from autotune.units import format_both

#: Of the trials of the largest budget, how many each smaller one gets on top, and the fewest.
_SHARE_OF_OTHERS, _FEWEST_OF_OTHERS = 3, 3


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a study ended, for one budget."""

    status: Literal["ok", "provisional", "none_fits"]
    recipe: Recipe | None
    recipe_path: Path | None
    folder: Path
    history: History
    needed: Needed | None
    trials: int
    seconds: float
    out_of_time: bool = False
    stopped_by: KeyboardInterrupt | None = None
    #: When the machine had changed, if it did.
    drifted: Drifted | None = None
    #: The contact sheet, if pictures were compared.
    pictures: Path | None = None

    @property
    def unfinished(self) -> bool:
        """Whether the same command goes on with the study."""
        return self.interrupted or self.out_of_time or self.status == "provisional"

    @property
    def interrupted(self) -> bool:
        """Whether somebody ended the study before it was done."""
        return self.stopped_by is not None


def run_study(
    request: Request, engine: Engine, listener: Listener, ceilings: Ceilings | None = None
) -> Result:
    """Run a study of one budget; see `run_studies`."""
    return run_studies([request], engine, listener, ceilings)[0]


def run_studies(
    requests: Sequence[Request],
    engine: Engine,
    listener: Listener,
    ceilings: Ceilings | None = None,
) -> list[Result]:
    """Run one study to a recipe for each budget, or to the smallest budget that would do.

    An interrupt ends it early: what was measured so far is written as provisional.

    Args:
        requests: What is asked, the largest budget first; only budgets and paths differ.
        engine: What runs trials.
        listener: Is told what happens.
        ceilings: Of the device; by default what is known of it.

    Raises:
        BadInput: Before the first trial, if the rules leave nothing to try.
        CannotRun: If the baseline shows that nothing can run here, or the environment gives out.
        NoResult: If no finalist of a single budget held in fresh processes.
    """
    start = time.monotonic()
    first = requests[0]
    inspection = engine.inspect(
        InspectSpec(model=first.model, device=first.device), first.folder / "inspect"
    )
    hunts = _hunts(requests, inspection.choices, ceilings or known_ceilings(first.device))
    admission, space = hunts[0].admission, hunts[0].history.space
    planned = [replace(hunt.request, trials=hunt.trials) for hunt in hunts]
    listener.planned(planned, space, count_funnel(space, admission))
    runner = Runner(
        engine=engine,
        request=first,
        listener=listener,
        history=hunts[0].history,
        stop_at=None if first.time_s is None else start + first.time_s,
        doubt=make_doubt(first.model, first.device, admission.profile),
        gate=make_gate(first),
        kept=read_kept(first.folder / "trials"),
    )
    _tell_kept(first, runner.kept, listener)
    stopped_by, broke = None, None
    try:
        with reserve(first.folder):
            _run(hunts, runner)
    except KeyboardInterrupt as interrupt:
        stopped_by = interrupt
    except NoResult:
        _record(hunts, listener)
        _end(first, [])
        raise
    except CannotRun as error:
        broke = error  # raised again once the best so far is safe
    finally:
        runner.discard_prepared()
    for number, hunt in enumerate(hunts):
        hunt.begin(hunts[:number])  # what was not reached has what was measured so far
    seconds = time.monotonic() - start
    try:
        results = [_publish(hunt, runner, seconds, stopped_by) for hunt in hunts]
        _record(hunts, listener)
    except CannotRun as error:
        raise broke or error from None  # what stopped the study keeps it from writing, too
    if broke is not None:
        for one in results:
            if one.recipe is not None:
                listener.said(f"the best so far is kept as {one.status}: {one.recipe_path}")
        raise broke
    if stopped_by is None and not any(one.unfinished for one in results):
        _end(first, results)
    return results


def _tell_kept(request: Request, kept: Kept, listener: Listener) -> None:
    """Say what of an interrupted study is used, and what is not."""
    for sentence in (*request.said, *(request.opened.left if request.opened else ())):
        listener.said(sentence)
    if len(kept):
        listener.said(f"going on with an interrupted study: {len(kept)} trials are kept")
    if kept.damaged:
        listener.said(f"outcomes that cannot be read are left out: {kept.left_out}")


def _end(request: Request, results: Sequence[Result]) -> None:
    """The same command is answered by this study from now on, or begins a new one."""
    if request.opened is None:
        return
    recipes = {
        str(one.history.budget_bytes): os.path.relpath(one.recipe_path, one.folder)
        for one in results
        if one.recipe_path is not None
    }
    request.opened.note(ended=True, trials=request.trials, recipes=recipes)


def _hunts(
    requests: Sequence[Request], choices: Sequence[Choice], ceilings: Ceilings
) -> list[Hunt]:
    hunts = []
    for number, request in enumerate(requests):
        if number:
            trials = max(_FEWEST_OF_OTHERS, request.trials // _SHARE_OF_OTHERS)
            request = replace(request, trials=trials)
        admission = _admission(request)
        space = build_space(choices, request.definition, request.pins, request.quality)
        refuse_pins(request.pins, admission)
        hunts.append(Hunt(request, ruled(space, admission), admission, ceilings, choices))
    return hunts


def _run(hunts: Sequence[Hunt], runner: Runner) -> None:
    """Hunt within one budget after the other, each in its share of the time there is."""
    confirmed: dict[str, Winner] = {}
    start, end = time.monotonic(), runner.stop_at
    trials = [hunt.trials for hunt in hunts]
    for number, hunt in enumerate(hunts):
        larger = hunts[:number]
        hunt.begin(larger)
        if end is not None:
            runner.stop_at = start + (end - start) * sum(trials[: number + 1]) / sum(trials)
        if runner.time_is_up:
            hunt.cut_short = True
            continue
        budget = format_both(hunt.request.budget_bytes)
        runner.listener.chapter("Search" if len(hunts) == 1 else f"Search within {budget}")
        known = next((one.needed for one in larger if one.needed is not None), None)
        if known is not None:  # what a larger budget does not hold, a smaller one does not
            hunt.needed = known
            runner.listener.said("nothing fits a larger budget, so nothing fits this one")
            continue
        try:
            hunt.run(runner, confirmed=confirmed)
            hunt.cut_short = runner.time_is_up
        except NoResult as error:
            hunt.hopeless = True
            if len(hunts) == 1:
                raise
            runner.listener.said(error.message)  # the other budgets have their recipes
        if hunt.winner is not None and hunt.winner.confirmed:
            confirmed[candidate_key(hunt.winner.measured.choices)] = hunt.winner


def _publish(
    hunt: Hunt, runner: Runner, seconds: float, stopped_by: KeyboardInterrupt | None
) -> Result:
    """Write the recipe of a budget, if there is one."""
    request, history, winner = hunt.request, hunt.history, hunt.best_so_far()
    hunt.note_refused()
    recipe, pictures = None, None
    if winner is not None:
        recipe = compose(
            request, history, winner, runner.gate, trials=runner.count, seconds=seconds
        )
        write_recipe(recipe, request.recipe_path, overwrite=request.overwrite)
        pictures = _show(request, history, winner, runner)
    return Result(
        status=_status(winner),
        recipe=recipe,
        recipe_path=request.recipe_path if recipe else None,
        pictures=pictures,
        folder=request.folder,
        history=history,
        needed=hunt.needed,
        trials=runner.count,
        seconds=seconds,
        out_of_time=hunt.cut_short,
        drifted=hunt.drift.found,
        stopped_by=stopped_by,
    )


def _show(request: Request, history: History, winner: Winner, runner: Runner) -> Path | None:
    """Write the winner's pictures beside the baseline's, in the run folder."""
    if winner.likeness is None or winner.trial is None:
        return None
    changes = history.space.changes(winner.measured.choices).items()
    named = ", ".join(f"{lever}={id}" for lever, id in changes) or "baseline"
    try:
        return write_showcase(
            request.folder / f"{request.recipe_path.stem}-pictures",
            reference=request.folder / "reference",
            winner=request.folder / "trials" / winner.trial,
            likeness=winner.likeness,
            title=(request.model.id, named, *((runner.gate.off,) if runner.gate.off else ())),
        )
    except OSError as error:
        runner.listener.said(f"the pictures could not be written: {error.strerror}")
        return None


def _record(hunts: Sequence[Hunt], listener: Listener) -> None:
    """Write what was measured for all budgets as a recorded space, if that is asked for."""
    request = hunts[0].request
    table = record(hunts) if request.record is not None else None
    if table is not None and request.record is not None:
        write_recorded(request.record, table, overwrite=request.overwrite)
        listener.said(f"{len(table.rows)} candidates are recorded: {request.record}")


def _admission(request: Request) -> Admission:
    return Admission(
        model=request.model,
        device=request.device,
        budget_bytes=request.budget_bytes,
        software=request.fingerprint.software,
        host_bytes=request.ram_bytes or request.machine.host.most_bytes,
        profile=_profile(request),
    )


def _profile(request: Request) -> Profile:
    """What the inspection counted; where an engine left nothing, the number of the weights."""
    path = request.folder / "inspect" / PROFILE
    return read_profile(path) if path.exists() else bare_profile(request.model)


def _status(winner: Winner | None) -> Literal["ok", "provisional", "none_fits"]:
    if winner is None:
        return "none_fits"
    return "ok" if winner.confirmed else "provisional"
