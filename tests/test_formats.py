"""Every format of a file: its JSON Schema fits real files, and stored files are read today."""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from autotune.errors import BadInput
from autotune.formats import DIALECT, FORMATS, schema_of
from autotune.levers import load_levers
from autotune.recipe.read import parse_recipe, read_recipe
from autotune.recipe.write import render_recipe
from autotune.records import TrialSpec
from autotune.search.definition import read_definition, shipped_folder
from autotune.search.recorded import read_recorded
from autotune.search.study_folder import Study
from autotune.trial.wire import OUTCOME, SPEC, read_outcome, read_record
from tests.recipe.factory import make_document, make_recipe, sign

STORED = Path(__file__).parent / "data" / "formats"
SPACES = Path(__file__).parent / "data" / "spaces"


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(schema_of(name))


def documents(path: Path) -> list[Any]:
    """What a stored file holds: one document, or a line each."""
    if path.suffix == ".toml":
        return [tomllib.loads(path.read_text())]
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    return [json.loads(path.read_bytes())]


def stored(name: str, version: int) -> Path:
    # A recorded space is one file of two kinds of lines.
    stem = name.replace("recorded-candidate", "recorded-space")
    (path,) = STORED.glob(f"{stem}-{version}.*")
    return path


def versions(name: str) -> range:
    newest = FORMATS[name].record.model_fields.get("format")
    if newest is None:
        return versions("recorded-space")
    return range(1, max(newest.annotation.__args__) + 1)


EACH = [(name, version) for name in FORMATS for version in versions(name)]


# ------------------------------------------------------------------------------------ schemas


@pytest.mark.parametrize("name", FORMATS)
def test_a_schema_is_a_schema_with_a_title_and_a_description(name: str) -> None:
    schema = schema_of(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == DIALECT
    assert schema["$id"] == f"urn:autotune:{name}"
    assert schema["title"]
    assert schema["description"]
    assert schema["additionalProperties"] is False
    parts = schema.get("$defs", {})
    assert {name for name, part in parts.items() if "title" not in part} <= {"JsonValue"}
    assert json.loads(json.dumps(schema)) == schema


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(BadInput, match="there is no format 'recipes'") as caught:
        schema_of("recipes")
    assert str(caught.value.hint) == f"one of {', '.join(FORMATS)}"


def test_every_record_with_a_format_that_stands_in_a_file_has_a_schema_or_a_reason() -> None:
    import re

    from tests.sources import PACKAGE

    #: Read by nobody but the version that wrote it, or part of the package.
    ours = {"models/learnt.py", "estimate/profile.py", "search/references.py"}
    found = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if re.search(r"^    format: Literal\[", path.read_text(), re.MULTILINE)
    }
    homes = {one.home.partition(":")[0] for one in FORMATS.values()}
    listed = {f"{home.removeprefix('autotune.').replace('.', '/')}.py" for home in homes}
    assert found - listed == ours


# --------------------------------------------------------------------------------- real files


@pytest.mark.parametrize(("name", "version"), EACH)
def test_a_stored_file_of_every_format_fits_its_schema(name: str, version: int) -> None:
    found = documents(stored(name, version))
    if name == "recorded-space":
        found = found[:1]
    elif name == "recorded-candidate":
        found = found[1:]
    assert found
    for one in found:
        validator(name).validate(one)


def test_stored_recipes_are_read() -> None:
    for version in versions("recipe"):
        recipe = read_recipe(stored("recipe", version))
        assert recipe.status == "confirmed"
        assert recipe.evidence.baseline is not None
        # What is written of it today is read as the same recipe (R9, R10).
        assert parse_recipe(render_recipe(recipe)) == recipe


def test_stored_search_spaces_are_read() -> None:
    for version in versions("search-space"):
        assert read_definition(stored("search-space", version)).levers["offload"] == "all"


def test_stored_recorded_spaces_are_read() -> None:
    for version in versions("recorded-space"):
        assert len(read_recorded(stored("recorded-space", version)).rows) >= 4


def test_stored_studies_are_read() -> None:
    for version in versions("study"):
        study = Study.model_validate_json(stored("study", version).read_bytes())
        assert study.ended
        assert study.starts["1GB"][0]["dtype"] == "fp32"


def test_stored_trials_are_read(tmp_path: Path) -> None:
    for version in versions("trial-spec"):
        folder = tmp_path / str(version)
        folder.mkdir()
        (folder / SPEC).write_bytes(stored("trial-spec", version).read_bytes())
        (folder / OUTCOME).write_bytes(stored("trial-outcome", version).read_bytes())
        spec = read_record(folder, SPEC, TrialSpec)
        outcome = read_outcome(folder, spec.trial)
        assert (spec.purpose, outcome.status) == ("screen", "measured")


@pytest.mark.parametrize("path", sorted(shipped_folder().glob("*.toml")), ids=lambda one: one.stem)
def test_every_shipped_search_space_fits_the_schema(path: Path) -> None:
    validator("search-space").validate(tomllib.loads(path.read_text()))


@pytest.mark.parametrize("path", sorted(SPACES.glob("*.jsonl")), ids=lambda one: one.stem)
def test_every_recorded_space_fits_the_schemas(path: Path) -> None:
    header, *rows = documents(path)
    validator("recorded-space").validate(header)
    candidate = validator("recorded-candidate")
    for row in rows:
        candidate.validate(row)


# ------------------------------------------------------------------ what editors are to point out


def test_a_search_space_names_the_levers_and_choices_there_are() -> None:
    schema = validator("search-space")
    named = schema_of("search-space")["properties"]["levers"]["properties"]
    assert list(named) == list(load_levers())
    assert "group-block" in named["offload"]["anyOf"][1]["items"]["enum"]
    assert schema.is_valid({"levers": {"offload": ["none", "model"]}})
    # Of somebody else's lever nothing is known.
    assert schema.is_valid({"levers": {"freeu": ["on"]}})
    for wrong in (
        {"levers": {"offload": "some"}},
        {"levers": {"offload": ["nothing"]}},
        {"levers": {"offload": []}},
        {"levers": {"offload": ["model", "model"]}},
        {"lever": {}},
        {"format": 2},
        {"quality": "good"},
    ):
        assert not schema.is_valid(wrong), wrong


def _changes(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of everything in a document."""
    yield path
    if isinstance(value, (dict, list)):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _changes(part, (*path, key))


def _changed(document: Any, path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> Any:
    copied = copy.deepcopy(document)
    place = copied
    for key in path[:-1]:
        place = place[key]
    change(place, path[-1])
    return copied


def _drop(place: Any, key: Any) -> None:
    del place[key]


def _replace(place: Any, key: Any) -> None:
    place[key] = {"something": "else"}


def _add(place: Any, key: Any) -> None:
    if isinstance(place, dict):
        place[f"{key}-"] = None


@pytest.mark.parametrize("change", [_drop, _replace, _add])
def test_what_the_reader_takes_the_schema_takes_too(change: Callable[[Any, Any], None]) -> None:
    """A schema that is stricter than the reader would mark good files as wrong."""
    schema = validator("recipe")
    document = json.loads(sign(make_document()))
    told = 0
    for path in _changes(document):
        if not path or path == ("digest",):
            continue
        changed = _changed(document, path, change)
        try:
            parse_recipe(json.dumps(changed).encode(), accept_modified=True)
        except BadInput:
            told += not schema.is_valid(changed)
            continue
        assert schema.is_valid(changed), path
    assert told > 20, "the schema says nothing of what the reader refuses"


def test_a_recipe_without_its_digest_or_of_another_kind_does_not_fit() -> None:
    schema = validator("recipe")
    good = json.loads(render_recipe(make_recipe()))
    assert schema.is_valid(good)
    assert schema.is_valid({**good, "x-note": {"by": "somebody"}})
    for key in ("digest", "kind", "format", "evidence"):
        assert not schema.is_valid({name: one for name, one in good.items() if name != key}), key
    assert not schema.is_valid({**good, "format": 2})
    assert not schema.is_valid({**good, "note": ""})
