"""From a name to a pinned model: a folder on this machine whose content is known (design D6)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from autotune.errors import BadInput, ModelUnavailable, shorten
from autotune.models.catalog import Entry, find, find_pipeline
from autotune.models.defaults import choose_denoiser, default_workload
from autotune.models.demo.build import MARKER, build_demo
from autotune.models.hub import Snapshot, discard, fetch
from autotune.models.index import (
    INDEX,
    SMALL_FILES,
    Index,
    Part,
    read_config,
    read_index,
    refuse_code,
)
from autotune.models.naming import DemoName, FolderName, HubName, parse_name
from autotune.models.pin import pin
from autotune.models.published import tiny_entry
from autotune.models.weights import BrokenModel, Weights, read_weights
from autotune.records import Component, Model

#: Classes that a pipeline needs and that have no weights, by the ends of their names.
_WEIGHTLESS = re.compile(r"(Tokenizer|Scheduler|Processor|Extractor|Backend)(Fast)?$")


@dataclass(frozen=True, kw_only=True)
class _Origin:
    """What is known of a model before its folder is read."""

    source: Literal["demo", "hub", "folder"]
    id: str
    folder: Path
    entry: Entry | None = None
    revision: str | None = None


def resolve(name: str, *, allow_download: bool = True) -> Model:
    """Turn what the user wrote after --model into a pinned model on this machine.

    Args:
        name: A name of the catalogue, ``org/name`` or ``org/name@revision``, or a folder that
            `save_pretrained` wrote.
        allow_download: Whether the hub may be asked; otherwise its cache must hold the model.

    Raises:
        BadInput: If the name is malformed, or the model cannot be used: no model_index.json,
            unreadable or pickled weights, code of its own, unknown to the installed diffusers.
        ModelUnavailable: If there is no such model, or it is gated or out of reach.
        CannotRun: If the embedded model cannot be built, or the disk fails.
    """
    match parse_name(name):
        case DemoName(entry=entry):
            return _read(_Origin(source="demo", id="demo", folder=build_demo(), entry=entry))
        case FolderName(folder=folder):
            return _read(_Origin(source="folder", id=folder_id(folder), folder=folder))
        case HubName() as hub:
            return _resolve_hub(name, hub, allow_download)


def _resolve_hub(name: str, hub: HubName, allow_download: bool) -> Model:
    try:
        snapshot = fetch(hub.repository, hub.revision, allow_download=allow_download)
    except ModelUnavailable as error:
        if not Path(name).is_dir():
            raise
        hint = f"{error.hint}; for the folder of that name write ./{name}"
        raise ModelUnavailable(error.message, hint=hint) from None
    try:
        return _read(_hub_origin(hub, snapshot))
    except BrokenModel as error:
        if snapshot.problem:
            raise _incomplete(hub, snapshot.problem) from None
        # A download that broke off unnoticed: once more, then give up (fault matrix F13).
        discard(snapshot, error.file)
    snapshot = fetch(hub.repository, hub.revision)
    try:
        return _read(_hub_origin(hub, snapshot))
    except BrokenModel as error:
        if snapshot.problem:
            raise _incomplete(hub, snapshot.problem) from None
        message = f"{hub.repository} was downloaded twice, and {error.message}"
        raise ModelUnavailable(message, hint="the copy on the hub may be broken") from None


def _hub_origin(hub: HubName, snapshot: Snapshot) -> _Origin:
    return _Origin(
        source="hub",
        id=hub.repository,
        folder=snapshot.folder.resolve(),
        entry=hub.entry,
        revision=snapshot.commit,
    )


def _incomplete(hub: HubName, problem: ModelUnavailable) -> ModelUnavailable:
    message = f"the copy of {hub.repository} in the cache is incomplete, and {problem.message}"
    return ModelUnavailable(message, hint=problem.hint)


def _read(origin: _Origin) -> Model:
    try:
        return _model(origin)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise BadInput(
            f"the model {origin.id} cannot be read: {why}", hint="check whose files they are"
        ) from None


def _model(origin: _Origin) -> Model:
    folder, what = origin.folder, origin.id
    if not (folder / INDEX).is_file():
        raise BadInput(
            f"the folder {shorten(folder.name or str(folder))} holds no {INDEX}",
            hint="name a folder that pipeline.save_pretrained() wrote",
        )
    index = read_index(folder, what=what)
    files = _files(folder, index)
    refuse_code(index, files, what=what)
    weights = {part.name: _weights(folder, part, files) for part in index.parts}
    components = tuple(_component(part, weights[part.name]) for part in index.parts)
    denoiser = choose_denoiser(components, what=what)
    random = (folder / MARKER).is_file()
    entry = origin.entry or (_skeleton_of(folder) if random else None)
    known = entry or find_pipeline(index.pipeline)
    return Model(
        id=origin.id,
        revision=origin.revision or pin(folder, _pinned(files, weights)),
        source=origin.source,
        folder=str(folder),
        pipeline=index.pipeline,
        family=known.family if known else None,
        weights="random" if random else "real",
        denoiser=denoiser,
        components=components,
        workload=default_workload(
            folder,
            entry,
            pipeline=index.pipeline,
            denoiser=next(part for part in components if part.name == denoiser),
        ),
    )


def _skeleton_of(folder: Path) -> Entry | None:
    """The model of the catalogue whose size and classes the folder has."""
    found = read_config(folder / MARKER, what=MARKER)
    entry = find(str(found.get("model", "")))
    return tiny_entry(entry) if entry and found.get("tiny") else entry


def _files(folder: Path, index: Index) -> list[str]:
    """The files of all components, relative to the folder."""
    found = []
    for part in index.parts:
        place = folder / part.name
        if not place.is_dir():
            raise BrokenModel(f"{part.name}/ is missing, which {INDEX} names", file=part.name)
        found += [f"{part.name}/{path.name}" for path in place.iterdir() if path.is_file()]
    return found


def _weights(folder: Path, part: Part, files: list[str]) -> Weights | None:
    weights = read_weights(folder / part.name, component=part.name, library=part.library)
    weightless = _WEIGHTLESS.search(part.class_name)
    if weights is None and not weightless and f"{part.name}/config.json" in files:
        raise BrokenModel(f"{part.name}/ holds no weights", file=part.name)
    if not any(file.startswith(f"{part.name}/") for file in files):
        raise BrokenModel(f"{part.name}/ is empty", file=part.name)
    return weights


def _component(part: Part, weights: Weights | None) -> Component:
    return Component(
        name=part.name,
        library=part.library,
        class_name=part.class_name,
        weight_bytes=weights.bytes if weights else 0,
        parameters=weights.parameters if weights else 0,
        dtype=weights.dtype if weights else None,
    )


def _pinned(files: list[str], weights: dict[str, Weights | None]) -> list[str]:
    small = {file for file in files if file.endswith(SMALL_FILES)}
    large = {f"{name}/{file}" for name, found in weights.items() if found for file in found.files}
    return [INDEX, *(small | large)]


def folder_id(folder: Path) -> str:
    """What recipes call a model that is a folder of its user's."""
    # It stands in recipes: never the path, which may name a person.
    return re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name).strip("-.")[:64] or "model"
