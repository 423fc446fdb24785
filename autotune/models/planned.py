"""From a name to a model that can be foreseen: no weights are downloaded."""

from __future__ import annotations

from autotune.errors import BadInput, ModelUnavailable
from autotune.models.catalog import find_pipeline
from autotune.models.defaults import choose_denoiser, default_workload
from autotune.models.hub import OutOfReach
from autotune.models.learnt import learn
from autotune.models.naming import HubName, parse_name
from autotune.models.published import planned_model
from autotune.models.resolve import resolve
from autotune.records import Model


def plan_model(name: str) -> Model:
    """A model of the catalogue from its data, anything else from where it lies.

    A model that is here is read; of one on the hub the configurations and the headers of its
    weights are, and its folder holds nothing else.

    Raises:
        BadInput: As `resolve`.
        ModelUnavailable: If it is neither known, nor here, nor on the hub.
    """
    parsed = parse_name(name)
    if not isinstance(parsed, HubName):
        return resolve(name)
    if parsed.entry is not None and parsed.entry.parts:
        return planned_model(parsed.entry)
    try:
        return resolve(name, allow_download=False)
    except ModelUnavailable:
        return _from_hub(parsed)
    except BadInput as error:
        # Others may have put only a variant into the cache, while the hub has more.
        try:
            return _from_hub(parsed)
        except OutOfReach:
            raise error from None


def _from_hub(hub: HubName) -> Model:
    try:
        learnt, folder = learn(hub.repository, hub.revision)
    except OutOfReach as error:
        raise OutOfReach(
            f"what {hub.repository} is made of is not known here, and it is not in the cache: "
            f"{error.message}",
            hint="download it and name its folder, or a model of the catalogue that is like it",
        ) from None
    denoiser = choose_denoiser(learnt.components, what=hub.repository)
    known = find_pipeline(learnt.pipeline)
    return Model(
        id=hub.repository,
        revision=learnt.commit,
        source="hub",
        folder=str(folder.resolve()),
        pipeline=learnt.pipeline,
        family=known.family if known else None,
        weights="real",
        denoiser=denoiser,
        components=learnt.components,
        workload=default_workload(
            folder,
            None,
            pipeline=learnt.pipeline,
            denoiser=next(part for part in learnt.components if part.name == denoiser),
        ),
    )
