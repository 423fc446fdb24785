"""Every row of the table of bad recipes, and what the messages say."""

from __future__ import annotations

import copy
import gzip
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import BadInput, BadRecipe
from autotune.files import canonical_json, pretty_json
from autotune.recipe.read import parse_recipe, read_recipe
from autotune.recipe.write import render_recipe
from tests.recipe.factory import make_document, make_recipe, sign


def refusal(data: bytes, **options: bool) -> BadRecipe:
    with pytest.raises(BadRecipe) as caught:
        parse_recipe(data, **options)
    assert caught.value.exit_code == 2
    assert len(caught.value.message) < 300
    return caught.value


def damaged(path: str, value: object) -> bytes:
    """A recipe with another value at a dotted path, and a digest that fits it."""
    document: Any = make_document()
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    inner = document
    for part in parents:
        inner = inner[part]
    inner[last] = value
    return sign(document)


@pytest.mark.parametrize(
    ("data", "looks"),
    [
        (b"", "an empty file"),
        (b" \n\t", "a blank file"),
        (b"null", "other JSON"),
        (b"[]", "other JSON"),
        (b'"text"', "other JSON"),
        (b"12", "other JSON"),
        (b'{"a": 1}', "other JSON"),
        (b'{"kind": ["autotune-recipe"]}', "other JSON"),
        (b"just some words", "plain text"),
        (b"number of things", "plain text"),
        (b"\x89PNG\r\n\x1a\n\0\0", "a PNG picture"),
        (b"\xff\xd8\xff\xe0", "a JPEG picture"),
        (gzip.compress(b"{}"), "gzip data"),
        (b"PK\x03\x04\x14", "a zip archive, or a torch checkpoint"),
        (pickle.dumps({"kind": "autotune-recipe"}, protocol=2), "a pickle"),
        (pickle.dumps({"kind": "autotune-recipe"}, protocol=5), "a pickle"),
        (pickle.dumps({"kind": "autotune-recipe"}, protocol=0), "a pickle"),
        (b"cos\nsystem\n(S'echo'\ntR.", "a pickle"),
        ((2).to_bytes(8, "little") + b"{}", "safetensors weights"),
        (b"format: 1\nkind: autotune-recipe\n", "YAML"),
        (b"---\na: b\n", "YAML"),
        (b"- a\n- b\n", "YAML"),
        (b'format = 1\nkind = "autotune-recipe"\n', "TOML"),
        (b"[model]\nid = 1\n", "TOML"),
        (b"<html></html>", "HTML or XML"),
        (b"#!/bin/sh\n", "a script"),
    ],
)
def test_names_what_it_is_instead_of_a_recipe(data: bytes, looks: str) -> None:
    error = refusal(data)
    assert error.message == f"the recipe is not an autotune recipe but {looks}"
    assert "autotune suggest" in error.hint


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ('{"a": 1}'.encode("utf-16"), "byte 0"),
        ('{"a": 1}'.encode("utf-16-le"), "column 2"),
        (b'{"a": "\xff"}', "byte 7"),
        (b'{"a": "\\ud800"}', "line 1, column 7"),
        (b'{"a": "\\u0000"}', "line 1, column 7"),
        (render_recipe(make_recipe()) + b"{}", "extra data"),
        (render_recipe(make_recipe())[:-10], "line "),
        (b'{"a": NaN}', "column 7"),
        (b'{"a": Infinity}', "column 7"),
        (b'{"a": 1e400}', "column 7"),
        (b'{"a": ' + b"9" * 5000 + b"}", "column 7"),
        (b'{"a": -0}', "column 7"),
        (b'{"a": 1, "a": 1}', "'a' twice"),
        (b'{"a":' * 17, "deeper than 16"),
        (b'{"a": "' + b"a" * 4097 + b'"}', "column 7"),
        (b'{"a": [' + b"0," * 1000 + b"0]}", "1001 entries"),
    ],
)
def test_says_where_it_stops_being_strict_json(data: bytes, place: str) -> None:
    assert place in refusal(data).message


def test_refuses_more_than_the_cap() -> None:
    assert "larger than 256 KiB" in refusal(b" " * (256 * 1024 + 1)).message


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("evidence.trials", True, "says True in evidence.trials, which should be a valid integer"),
        ("evidence.trials", "3", "evidence.trials"),
        ("evidence.trials", 3.5, "evidence.trials"),
        ("evidence.trials", 0, "greater than or equal to 1"),
        ("evidence.seconds", -1.0, "evidence.seconds"),
        ("evidence.seconds", True, "evidence.seconds"),
        ("evidence.winner.latency_s", -0.5, "evidence.winner.latency_s"),
        ("evidence.winner.processes_s.0.1", 0, "evidence.winner.processes_s[0][1]"),
        ("evidence.winner.processes_s.0", [], "evidence.winner.processes_s[0]"),
        ("evidence.winner.processes_s", [[1.0]] * 33, "which should have at most 32 items"),
        ("evidence.winner.peak_bytes", 10**19, "evidence.winner.peak_bytes"),
        ("evidence.comparison.verdict", "best ever", "evidence.comparison.verdict"),
        ("fingerprint.device.name", ["a"], "in fingerprint.device.name"),
        ("workload.prompts", "a cat", "workload.prompts"),
        ("choices", ["dtype"], "choices"),
        ("choices.dtype", 16, "choices.dtype"),
        ("choices.dtype", "os.system('x')", "choices.dtype"),
        ("choices.dtype", "../../x", "choices.dtype"),
        ("model.source", "s3", "model.source"),
        ("model.pipeline", "os.system", "in model.pipeline, which is not a name that can stand"),
        ("status", "Confirmed", "status"),
        ("evidence.quality.health", "failed", "evidence.quality.health"),
    ],
)
def test_names_the_path_of_a_wrong_value(path: str, value: object, says: str) -> None:
    assert says in refusal(damaged(path, value)).message


def test_seconds_may_be_written_without_a_dot() -> None:
    assert parse_recipe(damaged("evidence.winner.load_s", 2)).evidence.winner.load_s == 2.0


@pytest.mark.parametrize(
    ("path", "key", "hint"),
    [
        ("", "choises", "did you mean 'choices'?"),
        ("evidence", "winer", "did you mean 'winner'?"),
        ("evidence.winner", "latency", "did you mean 'latency_s'?"),
        ("refused.0", "raeson", "did you mean 'reason'?"),
        (
            "model",
            "trust_remote_code",
            "known here: given, id, pipeline, revision, source, weights",
        ),
        ("", "environment", None),
        ("", "module", None),
        ("evidence", "x-note", None),
    ],
)
def test_names_an_unknown_key_with_a_close_one(path: str, key: str, hint: str | None) -> None:
    error = refusal(damaged(f"{path}.{key}".removeprefix("."), True))
    shown = path.replace(".0", "[0]")
    assert f"unknown key '{shown}.{key}'".replace("'.", "'") in error.message
    assert hint is None or error.hint == hint


@pytest.mark.parametrize(
    "path", ["choices", "model.revision", "evidence.winner.binds", "fingerprint.software"]
)
def test_names_the_path_of_a_missing_key(path: str) -> None:
    document: Any = make_document()
    *parents, last = path.split(".")
    inner = document
    for part in parents:
        inner = inner[part]
    del inner[last]
    assert f"lacks the key {path}" in refusal(sign(document)).message


def test_ignores_keys_for_other_programs() -> None:
    document = json.loads(render_recipe(make_recipe()))
    document["x-note"] = {"anything": ["at", "all"]}
    assert parse_recipe(pretty_json(document)) == make_recipe()


@pytest.mark.parametrize("newer", [2, 3, 10**12])
def test_says_that_it_was_written_by_a_newer_autotune(newer: int) -> None:
    error = refusal(b'{"kind": "autotune-recipe", "format": %d, "new": {}}' % newer)
    assert f"written by a newer autotune (format {newer}, this reads 1)" in error.message
    assert "upgrade" in error.hint


@pytest.mark.parametrize("written", ["true", "0", "-1", "1.0", '"1"', "null", "[]"])
def test_refuses_a_format_that_never_was(written: str) -> None:
    data = f'{{"kind": "autotune-recipe", "format": {written}}}'.encode()
    assert "format" in refusal(data).message


def test_refuses_a_missing_digest() -> None:
    error = refusal(pretty_json(make_document()))
    assert "has no digest" in error.message
    assert "--accept-modified" in error.hint


@pytest.mark.parametrize("digest", ["sha256:0", "", 1, None, {}])
def test_refuses_a_wrong_digest(digest: object) -> None:
    data = pretty_json({**make_document(), "digest": digest})
    assert "digest" in refusal(data).message
    assert parse_recipe(data, accept_modified=True).modified


def test_records_for_ever_that_a_change_was_accepted() -> None:
    document: Any = json.loads(render_recipe(make_recipe()))
    document["choices"]["vae_tiling"] = "off"
    recipe = parse_recipe(pretty_json(document), accept_modified=True)
    assert recipe.modified
    assert recipe.choices["vae_tiling"] == "off"
    again = parse_recipe(render_recipe(recipe))
    assert again == recipe


def test_an_untouched_recipe_is_not_called_modified() -> None:
    assert not parse_recipe(render_recipe(make_recipe()), accept_modified=True).modified


def test_accepting_changes_does_not_accept_nonsense() -> None:
    data = pretty_json(json.loads(damaged("evidence.winner.latency_s", 0.1)))
    assert "cannot be true" in refusal(data, accept_modified=True).message


def test_reads_other_spellings_of_the_same_document() -> None:
    document = json.loads(render_recipe(make_recipe()))
    assert parse_recipe(canonical_json(document)) == make_recipe()
    shuffled = dict(reversed(list(copy.deepcopy(document).items())))
    assert parse_recipe(json.dumps(shuffled, indent=4).encode()) == make_recipe()


def test_reads_a_file_and_calls_it_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "flux.json"
    path.write_bytes(render_recipe(make_recipe()))
    assert read_recipe(path) == make_recipe()
    path.write_bytes(b"{}")
    with pytest.raises(BadRecipe, match=r"^'flux.json' is not"):
        read_recipe(path)


def test_refuses_a_path_that_is_not_a_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing", Path("/dev/zero")):
        with pytest.raises(BadInput):
            read_recipe(path)
