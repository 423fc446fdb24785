"""The catalogue of models known by a short name, with what each generates by default."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Literal, Self

from pydantic import model_validator

from autotune.records import Record, Workload

Dtype = Literal["fp32", "fp16", "bf16"]
#: What a number takes in the formats that models are published in.
BYTES: Mapping[str, int] = {"fp32": 4, "fp16": 2, "bf16": 2}


class Size(Record):
    """What an entry says of its workload; the prompts are the same for all of a kind."""

    height: int
    width: int
    frames: int | None = None
    steps: int
    guidance: float | None
    max_sequence_length: int | None = None


class Entry(Record):
    """One model of the catalogue.

    ``family`` names the search space, ``search_spaces/<family>.toml``; several entries share one.
    ``hub`` is ``None`` only for the demo model, which is built on this machine. ``parts`` are the
    components by their names in ``components/``, and ``settings`` what else the published
    pipeline is made with.
    """

    name: str
    aliases: tuple[str, ...] = ()
    hub: str | None = None
    pipeline: str
    family: str
    dtype: Dtype
    default: Size
    prompts: tuple[str, ...]
    parts: Mapping[str, str] = {}
    settings: Mapping[str, bool | float] = {}

    @property
    def source(self) -> Literal["demo", "hub"]:
        """Where the model comes from."""
        return "hub" if self.hub else "demo"

    @property
    def workload(self) -> Workload:
        """What is generated unless the user says otherwise."""
        return Workload(prompts=self.prompts, **dict(self.default))


class Catalog(Record):
    """All entries, in the order of the file; no name or hub id stands for two of them."""

    entries: tuple[Entry, ...]

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [name for entry in self.entries for name in _names(entry)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"named twice in the catalogue: {', '.join(twice)}")
        return self


class _Prompts(Record):
    image: tuple[str, ...]
    video: tuple[str, ...]


@cache
def load_catalog() -> Catalog:
    """Read the catalogue that comes with the package."""
    text = files("autotune.models").joinpath("catalog.toml").read_text(encoding="utf-8")
    document = tomllib.loads(text)
    # By way of JSON, where a strict tuple may be written as a list.
    prompts = _Prompts.model_validate_json(json.dumps(document.pop("prompts")))
    for row in document["entries"]:
        row.setdefault("prompts", prompts.video if "frames" in row["default"] else prompts.image)
    return Catalog.model_validate_json(json.dumps(document))


def find(alias: str) -> Entry | None:
    """The entry of that name, alias or hub id, whatever its case; ``None`` if there is none."""
    return _by_name().get(alias.casefold())


def find_pipeline(pipeline: str) -> Entry | None:
    """The first published model that is run by this pipeline class, its typical one."""
    entries = (entry for entry in load_catalog().entries if entry.hub)
    return next((entry for entry in entries if entry.pipeline == pipeline), None)


def aliases() -> tuple[str, ...]:
    """Every short name a user may write, sorted."""
    entries = load_catalog().entries
    return tuple(sorted(name for entry in entries for name in (entry.name, *entry.aliases)))


@cache
def _by_name() -> dict[str, Entry]:
    return {name: entry for entry in load_catalog().entries for name in _names(entry)}


def _names(entry: Entry) -> list[str]:
    names = [entry.name, *entry.aliases, *([entry.hub] if entry.hub else [])]
    return [name.casefold() for name in names]
