"""Ask every lever what it can do for a model on a device, where torch may be imported."""

from __future__ import annotations

from pathlib import Path

from autotune.levers import offered_choices
from autotune.models.structure import Structure
from autotune.records import Inspection, InspectSpec
from autotune.trial.wire import INSPECTION, SPEC, read_record, write_record


def inspect_folder(folder: Path) -> Inspection:
    """Read the request in the folder, answer it, and write the answer beside it."""
    inspection = inspect_levers(read_record(folder, SPEC, InspectSpec))
    write_record(folder, INSPECTION, inspection)
    return inspection


def inspect_levers(spec: InspectSpec) -> Inspection:
    """Every choice of every lever, for the model and its workload."""
    offered = offered_choices(spec.device, Structure(spec.model, spec.model.workload))
    return Inspection(choices=tuple(one for found in offered.values() for one in found))
