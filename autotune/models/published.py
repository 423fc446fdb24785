"""What published models are made of, from data in the package: no network, no torch."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from autotune.models.catalog import BYTES, Entry, load_catalog
from autotune.models.defaults import choose_denoiser
from autotune.records import Component, Model

#: Divisible by what every VAE and patch of the catalogue divides by.
_TINY_SIDE, _TINY_FRAMES, _TINY_STEPS = 256, 9, 4


@dataclass(frozen=True, kw_only=True)
class Published:
    """A component as it was published: its class, and where it differs from the class's defaults.

    ``parameters`` is the published count; a scheduler has none.
    """

    library: Literal["diffusers", "transformers"]
    class_name: str
    config: Mapping[str, Any]
    parameters: int


def parts_of(entry: Entry, *, tiny: bool = False) -> Mapping[str, Published]:
    """The components of a model, by their names in its pipeline; none for the embedded model.

    Args:
        entry: A model of the catalogue.
        tiny: Let each do the same with widths and depths that take a moment.
    """
    return {part: _published(name, tiny=tiny) for part, name in entry.parts.items()}


def planned_model(entry: Entry) -> Model:
    """A model of the catalogue as a record, without a folder: nothing was downloaded."""
    parts = parts_of(entry)
    components = tuple(
        Component(
            name=name,
            library=part.library,
            class_name=part.class_name,
            weight_bytes=part.parameters * BYTES[entry.dtype],
            parameters=part.parameters,
            dtype=entry.dtype if part.parameters else None,
        )
        for name, part in parts.items()
    )
    return Model(
        id=entry.hub or entry.name,
        revision="planned",
        source="hub",
        folder="",
        pipeline=entry.pipeline,
        family=entry.family,
        weights="real",
        denoiser=choose_denoiser(components, what=entry.name),
        components=components,
        workload=entry.workload,
    )


def weight_bytes(entry: Entry) -> int:
    """What the published weights take in the format they are published in."""
    return sum(part.parameters for part in parts_of(entry).values()) * BYTES[entry.dtype]


def tiny_entry(entry: Entry) -> Entry:
    """The entry with a workload that a tiny model of it does in a moment."""
    frames = None if entry.default.frames is None else _TINY_FRAMES
    size = {"height": _TINY_SIDE, "width": _TINY_SIDE, "frames": frames, "steps": _TINY_STEPS}
    return entry.but(default=entry.default.but(**size))


def entries_with_parts() -> tuple[Entry, ...]:
    """The models of the catalogue whose components are known without a network."""
    return tuple(entry for entry in load_catalog().entries if entry.parts)


def components() -> Mapping[str, Mapping[str, Any]]:
    """Every component of a published model, as its row says it."""
    return _rows("text_encoders", "vaes", "denoisers", "schedulers")


def tiny_settings() -> Mapping[str, Mapping[str, Any]]:
    """What replaces settings in a tiny model, by class or by component."""
    return _rows("tiny")


def _published(name: str, *, tiny: bool) -> Published:
    row = components()[name]
    kind, config = row["class"], row.get("config", {})
    if tiny:
        for smaller in (kind, name):
            config = _merged(config, tiny_settings().get(smaller, {}))
    return Published(
        library="transformers" if name in _rows("text_encoders") else "diffusers",
        class_name=kind,
        config=config,
        parameters=0 if tiny else row.get("parameters", 0),
    )


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` on top of ``under``, and so within settings that are tables on both sides."""
    merged = dict(under)
    for key, value in over.items():
        inner = merged.get(key)
        if isinstance(value, Mapping) and isinstance(inner, Mapping) and key.endswith("_config"):
            merged[key] = _merged(inner, value)
        else:
            merged[key] = value
    return merged


@cache
def _rows(*names: str) -> Mapping[str, Mapping[str, Any]]:
    folder = files("autotune.models").joinpath("components")
    rows: dict[str, Mapping[str, Any]] = {}
    for name in names:
        rows |= tomllib.loads(folder.joinpath(f"{name}.toml").read_text(encoding="utf-8"))
    return rows
