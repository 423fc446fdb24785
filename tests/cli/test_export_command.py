"""``autotune export``: where it goes, how it is refused, and that it needs no torch."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.recipe.write import render_recipe
from tests.cli.command import run
from tests.cli.test_commands import BLOCKER
from tests.recipe.factory import make_recipe

PLAIN = {"dtype": "bf16", "offload": "none", "compile": "none"}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return recipe_file(tmp_path, PLAIN)


def recipe_file(folder: Path, choices: dict[str, str]) -> Path:
    path = folder / "recipe.json"
    evidence = make_recipe().evidence
    winner = evidence.winner.but(choices=choices, engaged={})
    told = make_recipe(choices=choices, evidence=evidence.but(winner=winner), frontier=())
    path.write_bytes(render_recipe(told))
    return path


@pytest.mark.parametrize("more", [[], ["--to", "python"], ["--to", "env"], ["--json"]])
def test_it_works_without_torch_diffusers_and_optuna_and_does_not_ask_for_them(
    tmp_path: Path, recipe: Path, more: list[str]
) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    asked = tmp_path / "asked"
    env = {"PYTHONPATH": str(tmp_path), "ASKED": str(asked)}
    ended = run("export", str(recipe), *more, folder=tmp_path, env=env)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out
    assert not asked.exists(), asked.read_text()


def test_it_is_printed_or_written_and_nothing_is_overwritten_unless_told_so(
    tmp_path: Path, recipe: Path
) -> None:
    printed = run("export", str(recipe), folder=tmp_path).out
    assert "pipe = diffusers.FluxPipeline.from_pretrained(" in printed
    ended = run("export", str(recipe), "--out", "run.py", folder=tmp_path)
    assert (ended.code, ended.out) == (0, f"run.py: python, from {recipe}\n")
    assert (tmp_path / "run.py").read_text() == printed
    (tmp_path / "run.py").write_text("mine")
    again = run("export", str(recipe), "--out", "run.py", folder=tmp_path)
    assert again.code == 2
    assert again.err.startswith("error: cannot write") or "exists" in again.err
    assert "--force" in again.err
    assert (tmp_path / "run.py").read_text() == "mine"
    assert run("export", str(recipe), "--out", "run.py", "--force", folder=tmp_path).code == 0
    answer = run("export", str(recipe), "--json", folder=tmp_path).answer
    assert answer == {"to": "python", "out": None, "text": printed}


def test_a_choice_that_cannot_be_told_ends_with_1_its_name_and_a_hint(tmp_path: Path) -> None:
    path = recipe_file(tmp_path, {**PLAIN, "offload": "staged"})
    ended = run("export", str(path), "--out", "run.py", folder=tmp_path)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == (
        "error: it cannot be told in plain diffusers code: offload=staged: what drops a component "
        "after use is code of autotune's own\n\n"
        "hint: autotune.build(recipe) loads the pipeline with everything in it\n"
    )
    assert not (tmp_path / "run.py").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "diffusers-cli"], "a recipe cannot be exported to 'diffusers-cli'"),
        (["--model", "./nowhere"], "nowhere"),
        (["--checkpoint", "denoiser"], "'denoiser' names no component and path"),
        (["--out", "/nowhere/at/all.py"], "cannot write"),
    ],
)
def test_what_cannot_be_used_is_refused_in_the_house_form(
    tmp_path: Path, recipe: Path, arguments: list[str], message: str
) -> None:
    ended = run("export", str(recipe), *arguments, folder=tmp_path)
    assert ended.code == 2
    assert ended.err.startswith("error: ")
    assert message in ended.err
    assert "\n\nhint: " in ended.err
