"""Ask what a forecast needs: the levers and the model in a child, the rates of the device."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autotune.estimate.ceilings import Ceilings
    from autotune.estimate.profile import Profile
    from autotune.records import Inspection
    from autotune.search.forecast import Forecast, Question

#: Of a device, what changes from one moment to the next and decides nothing.
_PASSING = ("free_bytes", "neighbours", "temperature_c", "sm_clock_mhz", "memory_clock_mhz")


def forecast(question: Question, *, say: Callable[[str], None] = lambda _: None) -> Forecast:
    """Answer a question; what had to be looked up is kept, so the next answer takes a moment.

    Args:
        question: The model, the device and the budget.
        say: Is told what takes time.

    Raises:
        CannotRun: If the model cannot be looked at.
        BadInput: If the pins or the rules leave nothing.
    """
    from autotune.estimate.ceilings import best_ceilings
    from autotune.estimate.kept import keep_answer, kept_answer
    from autotune.search.forecast import Answer, foresee

    inspection, profile = _looked_at(question, say)
    ceilings = best_ceilings(question.device, say)
    facts = _facts(question, inspection, ceilings)
    known = kept_answer(facts, Answer)
    found = foresee(question, inspection.choices, profile, ceilings, known)
    if known is None:
        keep_answer(facts, found.answer)
    return found


def _facts(question: Question, inspection: Inspection, ceilings: Ceilings) -> dict[str, object]:
    """All that decides an answer, but for the model's profile, which follows from the model."""
    from autotune.estimate.kept import described

    return {
        "model": described(question.model),
        "device": question.device.model_dump(mode="json", exclude=set(_PASSING)),
        "budget_bytes": question.budget_bytes,
        "host_bytes": question.host_bytes,
        "definition": question.definition.model_dump(mode="json"),
        "quality": question.quality,
        "pins": dict(question.pins),
        "software": dict(question.software),
        "choices": inspection.model_dump(mode="json"),
        "ceilings": ceilings.model_dump(mode="json"),
    }


def _looked_at(question: Question, say: Callable[[str], None]) -> tuple[Inspection, Profile]:
    from autotune.engine.local import inspect_alone
    from autotune.estimate.kept import keep_choices, kept_choices, kept_profile
    from autotune.estimate.profile import PROFILE, read_profile
    from autotune.records import InspectSpec

    model, device = question.model, question.device
    choices = kept_choices(model, device, question.software)
    profile = kept_profile(model)
    if choices is not None and profile is not None:
        return choices, profile
    say(f"looking at {model.id}: once for this model, workload and card")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        found = inspect_alone(InspectSpec(model=model, device=device), folder)
        keep_choices(model, device, question.software, found)
        return found, read_profile(folder / PROFILE)
