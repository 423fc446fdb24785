"""`autotune compare` on real generations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autotune.recipe.read import read_recipe
from autotune.recipe.write import write_recipe
from tests.cli.command import run, short_study

pytestmark = pytest.mark.trials


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the recipe of a short study of the demo, and one that computes in fp16."""
    folder = tmp_path_factory.mktemp("compare")
    short_study(folder, "a.json")
    recipe = read_recipe(folder / "a.json")
    evidence = recipe.evidence.but(baseline=None)
    other = recipe.but(choices={**recipe.choices, "attention": "native-math"}, evidence=evidence)
    own = evidence.winner.but(choices=other.choices)
    other = other.but(evidence=evidence.but(winner=own), frontier=(), refused=())
    write_recipe(other, folder / "b.json")
    return folder


def test_two_recipes_are_measured_in_turns(folder: Path) -> None:
    line = ("compare", "a.json", "b.json", "--device", "cpu", "--effort", "quick", "--json")
    ended = run(*line, folder=folder)
    assert ended.code == 0, ended.err
    answer = json.loads(ended.out)
    assert answer["verdict"] in ("faster", "slower", "same", "cannot say")
    assert list(answer["differences"]) == ["attention"]
    assert len(answer["A"]["processes_s"]) == len(answer["B"]["processes_s"]) == 4
    assert ended.err.count("(confirm)") >= 8


def test_what_cannot_be_compared_is_told_before_anything_runs(folder: Path) -> None:
    ended = run("compare", "a.json", "a.json", "--device", "cpu", folder=folder)
    assert ended.code == 2
    assert "both recipes choose the same" in ended.err
    assert not list((folder / "autotune-runs").glob("compare-demo-cpu-*"))


def test_a_choice_that_cannot_be_had_here_is_named(folder: Path) -> None:
    recipe = read_recipe(folder / "b.json")
    choices = {**recipe.choices, "attention": "flash"}
    winner = recipe.evidence.winner.but(choices=choices)
    card = recipe.but(choices=choices, evidence=recipe.evidence.but(winner=winner))
    write_recipe(card, folder / "card.json")
    for line in (("compare", "a.json", "card.json"), ("verify", "card.json")):
        ended = run(*line, "--device", "cpu", "--quiet", folder=folder)
        assert ended.code == 1, ended.err
        assert ended.err.startswith("error: attention=flash cannot be set here")
