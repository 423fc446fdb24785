"""`autotune suggest` from end to end with real generations, and what its recipe gives."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from autotune.recipe.read import read_recipe
from tests.cli.command import Ended, environment, run
from tests.report.test_report_json import KEYS
from tests.tiny import tiny_pixart, tiny_sd3

pytestmark = pytest.mark.trials

#: Builds the pipeline of a recipe in a new process, generates twice, and says what it took.
BUILD = """
import json, sys
import torch, diffusers
import autotune
from autotune.trial.memory import HostMeter

recipe = autotune.load_recipe(sys.argv[1])
getattr(diffusers, recipe.model.pipeline)
meter = HostMeter()
with torch.inference_mode():
    pipe = autotune.build(recipe, model=sys.argv[2] or None, device="cpu")
    pipe.set_progress_bar_config(disable=True)
    work = recipe.workload
    size = dict(height=work.height, width=work.width, num_inference_steps=work.steps)
    if "PixArt" in recipe.model.pipeline:
        size["use_resolution_binning"] = False  # else a tiny one is refused
    for seed in (0, 1):
        generator = torch.Generator("cpu").manual_seed(seed)
        image = pipe(work.prompts[0], generator=generator, output_type="np", **size).images[0]
meter.mark("all")
print(json.dumps({"shape": image.shape, "finite": bool((image == image).all()),
                  "flat": float(image.std()) == 0, "peak": meter.report().peak_bytes}))
"""


@dataclass(frozen=True, kw_only=True)
class Suggested:
    """A study that was run, and its folder."""

    ended: Ended
    folder: Path
    model: str

    @property
    def answer(self) -> Any:
        assert self.ended.code == 0, self.ended.err
        return self.ended.answer


@pytest.fixture(scope="module", params=["demo", "sd3", "pixart"])
def suggested(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Suggested:
    folder = tmp_path_factory.mktemp("suggest")
    model = request.param
    if model == "demo":
        arguments = ["--trials", "4"]
    else:
        # Folders that no catalogue knows.
        model = str({"sd3": tiny_sd3, "pixart": tiny_pixart}[model](folder / f"my {model}"))
        arguments = ["--trials", "3", "--height", "64", "--width", "64", "--steps", "2"]
        # A minute a trial: tests/trial/test_run.py compiles.
        arguments += ["--set", "compile=none", "--set", "compile-vae=off", "--effort", "quick"]
    line = ["suggest", "--model", model, "--device", "cpu", "--vram", "1GB", "--json", *arguments]
    return Suggested(ended=run(*line, folder=folder), folder=folder, model=model)


@pytest.fixture(scope="module")
def built(suggested: Suggested) -> Any:
    """What a new process makes of the recipe."""
    place = suggested.model if "/" in suggested.model else ""
    done = subprocess.run(
        [sys.executable, "-c", BUILD, suggested.answer["recipe"], place],
        cwd=suggested.folder,
        env=environment(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def test_standard_output_is_one_json_object_with_the_keys_of_the_contract(
    suggested: Suggested,
) -> None:
    answer = suggested.answer
    assert set(answer) == KEYS
    assert answer["status"] == "ok"
    assert suggested.ended.out.count("\n") == 1
    assert answer["latency_s"] > 0
    assert 0 < answer["peak_bytes"] <= 1_000_000_000


def test_progress_goes_to_standard_error_a_line_a_trial(suggested: Suggested) -> None:
    lines = suggested.ended.err.splitlines()
    numbered = [int(line.split()[0]) for line in lines if line[:4].strip().isdigit()]
    assert numbered == list(range(1, suggested.answer["trials"] + 1))
    assert "budget   1 GB (954 MiB)" in lines


def test_the_recipe_is_read_back_and_says_what_the_answer_says(suggested: Suggested) -> None:
    answer = suggested.answer
    recipe = read_recipe(suggested.folder / answer["recipe"])
    assert recipe.status == "confirmed"
    assert dict(recipe.choices) == answer["choices"]
    assert recipe.evidence.winner.latency_s == answer["latency_s"]
    assert recipe.evidence.winner.peak_bytes == answer["peak_bytes"]
    assert len(recipe.evidence.winner.processes_s) >= 4
    assert str(suggested.folder) not in (suggested.folder / answer["recipe"]).read_text()


def test_pictures_lie_beside_the_recipe_and_their_likeness_stands_in_it(
    suggested: Suggested,
) -> None:
    answer = suggested.answer
    sheet = suggested.folder / answer["pictures"]
    count = 4 if suggested.model == "demo" else 2  # of others less is measured
    assert sheet.read_bytes().startswith(b"\x89PNG")
    for kind in ("baseline", "winner", "difference"):
        assert len(list(sheet.parent.glob(f"picture-*-{kind}.png"))) == count
    quality = read_recipe(suggested.folder / answer["recipe"]).evidence.quality
    assert quality.likeness is not None
    assert [scores.picture for scores in quality.likeness.scores] == list(range(count))
    assert answer["quality"]["fidelity"] == quality.fidelity
    # The demo's weights are random; what a folder holds is what its owner calls a model.
    demo = suggested.model == "demo"
    assert quality.fidelity == ("not assessed" if demo else "assessed")


def test_the_run_folder_keeps_every_trial(suggested: Suggested) -> None:
    study = suggested.folder / suggested.answer["study"]
    outcomes = sorted((study / "trials").glob("*/outcome.json"))
    assert len(outcomes) == suggested.answer["trials"]
    for path in outcomes:
        outcome = json.loads(path.read_bytes())
        assert outcome["samples_s"] or outcome["status"] == "too_slow"


def test_a_new_process_builds_the_recipe_and_stays_within_the_budget(
    suggested: Suggested, built: Any
) -> None:
    work = read_recipe(suggested.folder / suggested.answer["recipe"]).workload
    assert built["shape"] == [work.height, work.width, 3]
    assert built["finite"]
    assert not built["flat"]
    assert built["peak"] <= 1_000_000_000


def test_a_new_process_takes_about_the_memory_that_the_recipe_says(
    suggested: Suggested, built: Any
) -> None:
    # Allocators differ from run to run; a peak of another kind would be far off.
    assert built["peak"] < suggested.answer["peak_bytes"] * 1.5


def test_explain_and_build_agree_on_what_was_chosen(suggested: Suggested) -> None:
    ended = run("explain", suggested.answer["recipe"], folder=suggested.folder)
    assert ended.code == 0
    for lever, choice in suggested.answer["choices"].items():
        assert f"  {lever} = {choice}" in ended.out


def test_an_existing_recipe_is_not_replaced_and_nothing_is_started(suggested: Suggested) -> None:
    path = suggested.folder / suggested.answer["recipe"]
    before = path.read_bytes()
    folders = sorted((suggested.folder / "autotune-runs").iterdir())
    ended = run("suggest", "--model", suggested.model, "--out", str(path), folder=suggested.folder)
    assert ended.code == 2
    assert "exists" in ended.err
    assert "--force" in ended.err
    assert path.read_bytes() == before
    assert sorted((suggested.folder / "autotune-runs").iterdir()) == folders
