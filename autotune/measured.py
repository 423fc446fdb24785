"""Hold a device, and run a study on it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, Literal

from autotune.asked import look_again
from autotune.errors import BadInput

if TYPE_CHECKING:
    from autotune.estimate.ceilings import Ceilings
    from autotune.search.listener import Listener
    from autotune.search.request import Request
    from autotune.search.study import Result

#: Measuring a device takes ten seconds, once: a tenth of a study at the most.
_ENOUGH_TO_MEASURE_S = 120.0


def measure(
    requests: list[Request], wait: bool, engine: Literal["local", "debug"], listener: Listener
) -> list[Result]:
    """Start the engine, which holds the device, and run the study of these requests.

    Raises:
        AutotuneError: With a sentence and a hint.
    """
    from autotune.search.study import run_studies  # with Optuna: not for a request that is refused
    from autotune.search.study_folder import budgets_of

    try:
        listener.waiting("importing torch and diffusers, once a study")
        running = start_engine(engine, requests[0], wait, listener)
        try:
            opened = requests[0].opened
            if running.waited and opened is not None and not opened.resumed:
                again = [look_again(one) for one in requests]
                requests = sorted(again, key=lambda one: -one.budget_bytes)
                opened.note(budgets_bytes=budgets_of(requests))
            ceilings = _ceilings(requests[0], listener)
            return run_studies(requests, running, listener, ceilings)
        finally:
            running.close()
    except BadInput:
        # Found out only where torch is imported, and before the first trial: leave no trace.
        if not (requests[0].folder / "trials").exists():
            shutil.rmtree(requests[0].folder, ignore_errors=True)
        raise
    finally:
        if requests[0].opened is not None:
            requests[0].opened.release()


def _ceilings(request: Request, listener: Listener) -> Ceilings:
    """What is foreseen rests on them: they are measured once, unless there is hardly time."""
    from autotune.estimate.ceilings import best_ceilings, known_ceilings

    if request.time_s is not None and request.time_s < _ENOUGH_TO_MEASURE_S:
        return known_ceilings(request.device)
    return best_ceilings(request.device, listener.waiting)


def start_engine(
    engine: Literal["local", "debug"], request: Request, wait: bool, listener: Listener
) -> Any:
    """The engine of that name, which holds the device."""
    if engine == "debug":
        from autotune.engine.debug import DebugEngine

        return DebugEngine()
    from autotune.engine.local import LocalEngine

    return LocalEngine(
        device=request.device,
        pipeline=request.model.pipeline,
        folder=request.folder,
        wait=wait,
        say=listener.said,
    )
