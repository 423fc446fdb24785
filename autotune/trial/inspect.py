"""Ask every lever what it can do for a model on a device, where torch may be imported."""

from __future__ import annotations

from pathlib import Path

from autotune.levers import load_levers
from autotune.models.structure import Structure
from autotune.records import Choice, Inspection, InspectSpec
from autotune.trial.wire import INSPECTION, SPEC, read_record, write_record


def inspect_folder(folder: Path) -> Inspection:
    """Read the request in the folder, answer it, and write the answer beside it."""
    inspection = inspect_levers(read_record(folder, SPEC, InspectSpec))
    write_record(folder, INSPECTION, inspection)
    return inspection


def inspect_levers(spec: InspectSpec) -> Inspection:
    """Every choice of every lever; a lever that fails to answer has only that reason to show."""
    view = Structure(spec.model, spec.model.workload)
    found: list[Choice] = []
    for lever in load_levers().values():
        found.extend(lever.choices(spec.device, view))
    return Inspection(choices=tuple(found))
