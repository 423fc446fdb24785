"""Ask what a forecast needs: the levers and the model in a child, the rates of the device."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from autotune.errors import CannotRun

if TYPE_CHECKING:
    from autotune.estimate.ceilings import Ceilings
    from autotune.estimate.profile import Profile
    from autotune.records import Device, Inspection
    from autotune.search.forecast import Forecast, Question


def forecast(question: Question, *, say: Callable[[str], None] = lambda _: None) -> Forecast:
    """Answer a question; what had to be looked up is kept, so the next answer takes a moment.

    Args:
        question: The model, the device and the budget.
        say: Is told what takes time.

    Raises:
        CannotRun: If the model cannot be looked at.
        BadInput: If the pins or the rules leave nothing.
    """
    from autotune.search.forecast import foresee

    inspection, profile = _looked_at(question, say)
    return foresee(question, inspection.choices, profile, _ceilings(question.device, say))


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


def _ceilings(device: Device, say: Callable[[str], None]) -> Ceilings:
    from autotune.estimate.ceilings import known_ceilings, measure_ceilings
    from autotune.levers.mechanisms.capability import is_elsewhere

    known = known_ceilings(device)
    if known.source == "measured" or is_elsewhere(device):
        return known
    say(f"measuring {device.name}: ten seconds, once")
    try:
        return measure_ceilings(device)
    except CannotRun as error:
        say(f"it could not be measured ({error.message}); what is known of it is used")
        return known
