"""The formats of autotune's files, and the JSON Schema of each, so that editors complete them.

Schemas are made from the records that read the files. What only their readers check, sums and
medians above all, no schema says: a file that fits may still be refused.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from autotune.errors import BadInput, shorten

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Format:
    """A kind of file: who writes it, in what, and the record that it is read into."""

    what: str
    by: str
    syntax: str
    home: str
    #: What the reader takes beside the record's own keys.
    finish: Callable[[Schema], None] = lambda _: None

    @property
    def record(self) -> Any:
        """The record, imported now."""
        module, _, name = self.home.partition(":")
        return getattr(importlib.import_module(module), name)


def _recipe(schema: Schema) -> None:
    """The digest, and keys for other programs, are taken off before a recipe is read."""
    schema["properties"]["digest"] = {
        "description": "SHA-256 of everything else, as canonical JSON.",
        "pattern": "^sha256:[0-9a-f]{64}$",
        "title": "Digest",
        "type": "string",
    }
    schema["patternProperties"] = {"^x-": {"description": "For other programs; never read."}}
    schema["required"] = [*schema["required"], "format", "kind", "digest"]


def _search_space(schema: Schema) -> None:
    """Name the levers there are here and the choices of each; a file may name others' too."""
    from autotune.levers import load_levers
    from autotune.records import Device

    # As for the table of the README: what a lever offers is asked of no machine in particular.
    nowhere = Device(kind="cpu", uuid="", name="", total_bytes=0, free_bytes=0)
    known = {}
    for name, lever in load_levers().items():
        choices = lever.choices(nowhere, None)
        known[name] = {
            "description": lever.what[0].upper() + lever.what[1:] + ".",
            "anyOf": [
                {"enum": ["all", "baseline"]},
                {
                    "items": {"enum": [choice.id for choice in choices]},
                    "minItems": 1,
                    "type": "array",
                    "uniqueItems": True,
                },
            ],
        }
    schema["properties"]["levers"]["properties"] = known


FORMATS: Mapping[str, Format] = {
    "recipe": Format(
        what="a recipe",
        by="autotune suggest, verify --out",
        syntax="JSON",
        home="autotune.recipe.schema:Recipe",
        finish=_recipe,
    ),
    "search-space": Format(
        what="a search space, as --space takes it",
        by="people",
        syntax="TOML",
        home="autotune.search.definition:Definition",
        finish=_search_space,
    ),
    "recorded-space": Format(
        what="the first line of a recorded space",
        by="autotune suggest --record",
        syntax="JSON, one object a line",
        home="autotune.search.recorded:Header",
    ),
    "recorded-candidate": Format(
        what="every other line of a recorded space",
        by="autotune suggest --record",
        syntax="JSON, one object a line",
        home="autotune.search.recorded:Row",
    ),
    "study": Format(
        what="study.json of a run folder",
        by="autotune suggest",
        syntax="JSON",
        home="autotune.search.study_folder:Study",
    ),
    "trial-spec": Format(
        what="spec.json of a trial: what goes into its process",
        by="an engine",
        syntax="JSON",
        home="autotune.records:TrialSpec",
    ),
    "trial-outcome": Format(
        what="outcome.json of a trial: what comes out of its process",
        by="a trial",
        syntax="JSON",
        home="autotune.records:Outcome",
    ),
}


def schema_of(name: str) -> Schema:
    """The JSON Schema of a format, draft 2020-12.

    Raises:
        BadInput: If there is no such format, with those there are.
    """
    found = FORMATS.get(name)
    if found is None:
        raise BadInput(f"there is no format {shorten(name)}", hint=f"one of {', '.join(FORMATS)}")
    schema: Schema = found.record.model_json_schema()
    schema["description"] = _flowing(schema.get("description", ""))
    for part in schema.get("$defs", {}).values():
        if "description" in part:
            part["description"] = _flowing(part["description"])
    found.finish(schema)
    title = f"{found.what[0].upper()}{found.what[1:]} of autotune"
    return {"$schema": DIALECT, "$id": f"urn:autotune:{name}", **schema, "title": title}


def _flowing(text: str) -> str:
    """A docstring as editors show it: paragraphs without the breaks of its source."""
    paragraphs = ("\n".join(map(str.strip, text.splitlines()))).split("\n\n")
    return "\n\n".join(" ".join(one.split()) for one in paragraphs)
