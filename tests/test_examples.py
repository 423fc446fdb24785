"""Every example runs on small models, and the README's Python does too."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import tiny_sd3

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

pytestmark = pytest.mark.trials


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    command = "suggest --model demo --vram 1GB --trials 2 --effort quick --quiet --out recipe.json"
    run("-m", "autotune", *command.split(), cwd=folder)
    return folder / "recipe.json"


def test_apply_recipe_generates_a_picture(recipe):
    done = run(
        str(ROOT / "examples" / "apply_recipe.py"), "recipe.json", "out.png", cwd=recipe.parent
    )
    assert (recipe.parent / "out.png").read_bytes().startswith(b"\x89PNG")
    assert "256×256" in done.stdout


def test_fleet_loop_prints_a_line_for_each_model_and_budget(tmp_path):
    folder = tiny_sd3(tmp_path / "sd3")
    done = run(
        str(ROOT / "examples" / "fleet_loop.py"), str(tmp_path / "runs"), str(folder), cwd=tmp_path
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all(str(folder) in line and "failed" not in line for line in lines)


def test_the_code_in_the_readme_runs(recipe, monkeypatch):
    # Of the embedded model, of which a book has the recipe.
    monkeypatch.setenv("AUTOTUNE_BOOK", str(recipe.parent / "book"))
    run("-m", "autotune", "book", "add", "recipe.json", cwd=recipe.parent)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        # The embedded model at its own size: 1024 pixels, Flux's default, take minutes on a CPU.
        small = block.replace(
            'background")', 'background", height=64, width=64, num_inference_steps=2)'
        )
        run("-c", small.replace('"flux", vram="12GB"', '"demo", vram="1GB"'), cwd=recipe.parent)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_short_and_say_how_to_run_them(path):
    text = path.read_text()
    assert len(text.splitlines()) < 40
    assert f"examples/{path.name}" in text


def test_plain_optuna_finds_the_best_that_fits_and_says_why_it_tried_each(tmp_path):
    done = run(str(ROOT / "examples" / "plain_optuna.py"), cwd=tmp_path)
    *trials, best = done.stdout.splitlines()
    # Of what fits 12 GB, 4 bits without offloading are fastest: 9 s; 8 bits turn out slower.
    assert best == "best: {'format': 'int4', 'compile': 'off', 'offload': 'none'}"
    assert trials[0].endswith("baseline")
    assert len({trial.partition("{")[2].partition("}")[0] for trial in trials}) == len(trials)
