"""Ask every lever what it can do for a model on a device, where torch may be imported."""

from __future__ import annotations

import traceback
from pathlib import Path

from autotune.levers import is_built_in, load_levers
from autotune.models.structure import Structure
from autotune.records import Choice, Inspection, InspectSpec
from autotune.trial.wire import INSPECTION, SPEC, read_record, write_record


def inspect_folder(folder: Path) -> Inspection:
    """Read the request in the folder, answer it, and write the answer beside it."""
    inspection = inspect_levers(read_record(folder, SPEC, InspectSpec))
    write_record(folder, INSPECTION, inspection)
    return inspection


def inspect_levers(spec: InspectSpec) -> Inspection:
    """Every choice of every lever; a third-party one that fails to answer is left out.

    Its traceback stands in the log. A built-in lever that fails is a bug, or a model that cannot
    be used, and must be seen.
    """
    view = Structure(spec.model, spec.model.workload)
    found: list[Choice] = []
    for lever in load_levers().values():
        try:
            found.extend(lever.choices(spec.device, view))
        except Exception:
            if is_built_in(lever):
                raise
            traceback.print_exc()
    return Inspection(choices=tuple(found))
