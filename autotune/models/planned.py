"""From a name to a model that can be foreseen: nothing is downloaded."""

from __future__ import annotations

from autotune.errors import ModelUnavailable
from autotune.models.naming import HubName, parse_name
from autotune.models.published import planned_model
from autotune.models.resolve import resolve
from autotune.records import Model


def plan_model(name: str) -> Model:
    """A model of the catalogue from its data, anything else from where it lies on this machine.

    Raises:
        BadInput: As `resolve`.
        ModelUnavailable: If it is neither known nor here.
    """
    parsed = parse_name(name)
    if not isinstance(parsed, HubName):
        return resolve(name)
    if parsed.entry is not None and parsed.entry.parts:
        return planned_model(parsed.entry)
    try:
        return resolve(name, allow_download=False)
    except ModelUnavailable as error:
        raise ModelUnavailable(
            f"what {parsed.repository} is made of is not known here, and it is not in the cache",
            hint="download it and name its folder, or a model of the catalogue that is like it",
        ) from error
