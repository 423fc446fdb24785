"""`autotune verify` on real generations: right after the study, and where it cannot hold."""

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
    """A folder with the recipe of a short study of the demo."""
    folder = tmp_path_factory.mktemp("verify")
    short_study(folder, "recipe.json")
    return folder


def test_a_recipe_is_measured_again_and_written_with_the_numbers_of_this_machine(
    folder: Path,
) -> None:
    line = ("verify", "recipe.json", "--device", "cpu", "--out", "anew.json")
    told = ("--junit", "junit.xml", "--max-regression", "50%")
    summary = folder / "summary.md"
    summary.write_text("what other steps said\n")
    ended = run(*line, *told, folder=folder, env={"GITHUB_STEP_SUMMARY": str(summary)})
    # How fast a busy machine is, is not what is tested here.
    assert ended.code in (0, 1), ended.err
    lines = ended.out.splitlines()
    assert lines[0].startswith("recipe.json: confirmed, written by autotune")
    assert lines[1] == "match:    exact"
    assert lines[2].startswith("recorded: ")
    assert lines[3].startswith("here:     ")
    assert "in 4 processes" in lines[3]
    (verdict,) = [line for line in lines if line.startswith("verdict:  ")]
    assert ended.err.count("(confirm)") >= 4
    assert (folder / "autotune-runs/verify-demo-cpu/trials/0001/outcome.json").is_file()
    assert 'tests="1"' in (folder / "junit.xml").read_text()
    assert summary.read_text().startswith("what other steps said\n### ")
    if "it holds" not in verdict:
        assert ended.code == 1
        assert not (folder / "anew.json").exists()
        return
    assert ended.code == 0
    anew = read_recipe(folder / "anew.json")
    assert anew.choices == read_recipe(folder / "recipe.json").choices
    assert len(anew.evidence.winner.processes_s) == 4
    for option, name in (("--out", "anew.json"), ("--junit", "junit.xml")):
        again = run("verify", "recipe.json", option, name, folder=folder)
        assert again.code == 2
        assert name in again.err


def test_a_recipe_whose_budget_is_too_small_here_does_not_hold(folder: Path) -> None:
    recipe = read_recipe(folder / "recipe.json")
    winner = recipe.evidence.winner
    # As if it had been measured where the model takes a third.
    third = {phase: size // 3 for phase, size in winner.phases_bytes.items()}
    small = winner.but(peak_bytes=winner.peak_bytes // 3, phases_bytes=third)
    budget = recipe.budget.but(asked="what was free", bytes=small.peak_bytes + (1 << 20))
    evidence = recipe.evidence.but(winner=small, baseline=None)
    write_recipe(
        recipe.but(budget=budget, evidence=evidence, frontier=(), refused=()),
        folder / "small.json",
    )
    ended = run("verify", "small.json", "--device", "cpu", "--json", folder=folder)
    assert ended.code == 1, ended.err
    answer = json.loads(ended.out)
    assert answer["verdict"] == "too large"
    assert answer["here"] is None
    assert answer["failed"]["status"] == "over_budget"


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("nowhere.json",), 2, "nowhere.json"),
        (("recipe.json", "--out", "recipe.json"), 2, "recipe.json"),
        (("recipe.json", "--model", "no/such-folder"), None, "no/such-folder"),
        (("recipe.json", "--device", "cuda:7"), 2, "cuda:7"),
    ],
)
def test_what_cannot_be_verified_is_refused_with_a_hint(
    folder: Path, arguments: tuple[str, ...], code: int | None, error: str
) -> None:
    ended = run("verify", *arguments, folder=folder)
    assert ended.code == code or (code is None and ended.code in (1, 2, 3))
    assert error in ended.err
    assert "hint: " in ended.err
    assert "Traceback" not in ended.err
