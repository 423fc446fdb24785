"""Ask every lever what it can do for a model on a device, where torch may be imported."""

from __future__ import annotations

from pathlib import Path

from autotune.estimate.kept import keep_profile, kept_profile
from autotune.estimate.profile import PROFILE, Profile, write_profile
from autotune.estimate.trace import profile_of
from autotune.levers import offered_choices
from autotune.models.structure import Structure
from autotune.records import Inspection, InspectSpec
from autotune.trial.generate import caller
from autotune.trial.wire import INSPECTION, SPEC, read_record, write_record


def inspect_folder(folder: Path) -> Inspection:
    """Read the request in the folder, answer it, and write the answer beside it."""
    spec = read_record(folder, SPEC, InspectSpec)
    inspection, profile = inspect_model(spec)
    if profile is not None:
        write_profile(folder / PROFILE, profile)
    write_record(folder, INSPECTION, inspection)
    return inspection


def inspect_model(spec: InspectSpec) -> tuple[Inspection, Profile | None]:
    """Every choice of every lever for the model and its workload, and what the model does."""
    structure = Structure(spec.model, spec.model.workload)
    offered = offered_choices(spec.device, structure)
    choices = tuple(one for found in offered.values() for one in found)
    if not spec.counted:
        return Inspection(choices=choices), None
    profile = kept_profile(spec.model)
    if profile is None:
        profile = profile_of(spec.model, structure, spec.device, caller)
        keep_profile(spec.model, profile)
    return Inspection(choices=choices), profile
