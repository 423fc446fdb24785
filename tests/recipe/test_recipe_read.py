"""Recipes that are read, and what a digest is worth.

What is refused, with its sentence, is in ``tests/data/bad_inputs/recipes.toml``.
"""

from __future__ import annotations

import copy
import json
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


def test_seconds_may_be_written_without_a_dot() -> None:
    assert parse_recipe(damaged("evidence.winner.load_s", 2)).evidence.winner.load_s == 2.0


def test_ignores_keys_for_other_programs() -> None:
    document = json.loads(render_recipe(make_recipe()))
    document["x-note"] = {"anything": ["at", "all"]}
    assert parse_recipe(pretty_json(document)) == make_recipe()


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
