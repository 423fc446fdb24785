"""Exported scripts run where autotune cannot be imported, and make the picture of `build`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import autotune
from autotune.levers.base import Target
from autotune.recipe.schema import Recipe
from autotune.records import Model
from autotune.trial import generate, output
from tests.recipe.export_runner import Eager
from tests.recipe.exported import BASELINE, Case, every_case, recipe_for, recipe_of
from tests.trial.bench import CPU, SMALL, tiny_model

pytestmark = pytest.mark.trials

RUNNER = Path(__file__).with_name("export_runner.py")
CASES = [case for case in every_case() if not case.compiles]
COMPILED = [case for case in every_case() if case.compiles]
#: Kernels for AVX-512 add in another order where tensors lie at other addresses: the last bit of a
#: float may differ, and then a pixel that lies between two values.
_ROUNDING = 1


def run_scripts(texts: dict[str, str], folder: Path, *more: str) -> None:
    """Run all of them in one process that cannot import autotune."""
    scripts = []
    for name, text in texts.items():
        script = folder / name / "script.py"
        script.parent.mkdir(parents=True)
        script.write_text(text)
        scripts.append(str(script))
    jobs = folder / "jobs.json"
    jobs.write_text(json.dumps(scripts))
    done = subprocess.run(
        [sys.executable, str(RUNNER), str(jobs), *more],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def made_by(folder: Path, name: str) -> Any:
    """The pictures that a script made."""
    import numpy

    script = folder / name / "script.py"
    failed = script.with_suffix(".failed")
    assert not failed.exists(), f"{script.read_text()}\n{failed.read_text()}"
    return numpy.load(script.with_suffix(".npy"))


def pixels_of(pipe: Any, recipe: Recipe, multiple: int = 1) -> Any:
    """What the pipeline makes of the recipe's workload, in whole numbers as PIL has them."""
    made = output.picture_of(generate.caller(pipe, recipe.workload, multiple)(0)).float()
    return (made * 255).round().clamp(0, 255).byte().movedim(-3, -1).numpy()


def built(case: Case) -> Any:
    """The pictures of `autotune.build`; of its inner part where a CPU is refused the choice."""
    recipe = recipe_for(case)
    model = tiny_model(case.pipeline)
    if case.forced:
        target = Target(model=model, device=CPU, workload=case.workload)
        generate.build_pipeline(target, recipe.choices)
        pipe = target.pipe
    else:
        pipe = autotune.build(recipe, model=model.folder, device="cpu")
    multiple = {"x2": 2, "x4": 4, "x8": 8}.get(recipe.choices["batch"], 1)
    return pixels_of(pipe, recipe, multiple)


@pytest.fixture(autouse=True)
def _process_as_it_was() -> Iterator[None]:
    import torch
    from diffusers.models.attention_dispatch import AttentionBackendName as Name
    from diffusers.models.attention_dispatch import _AttentionBackendRegistry as Registry

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("highest")
    Registry.set_active_backend(Name.NATIVE)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which every script of ``CASES`` was run."""
    folder = tmp_path_factory.mktemp("exported")
    texts = {
        str(case): autotune.export(recipe_for(case), model=tiny_model(case.pipeline).folder)
        for case in CASES
    }
    run_scripts(texts, folder)
    return folder


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_script_of_a_choice_makes_the_picture_of_build(case: Case, made: Path) -> None:
    theirs = made_by(made, str(case)).astype(int)
    ours = built(case).astype(int)
    assert theirs.shape == ours.shape
    assert abs(theirs - ours).max() <= _ROUNDING


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for ``COMPILED``, with graphs that are run as they are."""
    folder = tmp_path_factory.mktemp("compiled")
    texts = {
        str(case): autotune.export(recipe_for(case), model=tiny_model(case.pipeline).folder)
        for case in COMPILED
    }
    run_scripts(texts, folder, "eager")
    return folder


@pytest.mark.parametrize("case", COMPILED, ids=str)
def test_the_script_of_a_compiled_choice_tells_the_compiler_what_build_tells_it(
    case: Case, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    eager = Eager()
    monkeypatch.setattr(torch, "compile", eager)
    eager.start_anew()
    ours = built(case).astype(int)
    settings = eager.settings()
    assert settings["told"]
    script = compiled / str(case) / "script.py"
    theirs = made_by(compiled, str(case)).astype(int)
    assert json.loads(script.with_suffix(".json").read_text()) == settings
    assert abs(theirs - ours).max() <= _ROUNDING
    eager.start_anew()


def test_the_script_of_several_choices_makes_the_picture_of_build(tmp_path: Path) -> None:
    choices = {
        **BASELINE,
        "dtype": "bf16",
        "quantize-denoiser": "torchao-int8wo",
        "quantize-text-encoder": "bnb-nf4",
        "vae-dtype": "fp32",
        "channels-last": "vae",
        "vae-tiling": "half",
        "attention": "native-flash",
        "batch": "x2",
    }
    model = tiny_model("flux")
    recipe = recipe_of(model, SMALL.but(height=128, width=128), choices)
    text = autotune.export(recipe, model=model.folder)
    run_scripts({"several": text}, tmp_path)
    pipe = autotune.build(recipe, model=model.folder, device="cpu")
    ours = pixels_of(pipe, recipe, multiple=2).astype(int)
    assert abs(made_by(tmp_path, "several").astype(int) - ours).max() <= _ROUNDING


def test_the_script_of_a_compiled_pipeline_makes_its_picture_up_to_rounding(
    tmp_path: Path,
) -> None:
    """Two compilations may join other operations, and so round in other places."""
    model = tiny_model("flux")
    recipe = recipe_of(model, SMALL, {**BASELINE, "compile": "regional"})
    pipe = autotune.build(recipe, model=model.folder, device="cpu")
    ours = pixels_of(pipe, recipe).astype(int)
    text = autotune.export(recipe, model=model.folder)
    assert "pipe.transformer.compile_repeated_blocks()" in text
    run_scripts({"compiled": text}, tmp_path)
    assert abs(made_by(tmp_path, "compiled").astype(int) - ours).max() <= 2


def test_the_script_of_given_files_makes_the_picture_of_build(tmp_path: Path) -> None:
    from tests.checkpoints import with_checkpoints, write_gguf, write_tiny_vae

    model = tiny_model("flux")
    component = Path(model.folder, "transformer")
    given = {
        "transformer": write_gguf(tmp_path / "denoiser.gguf", component, "Q8_0"),
        "vae": write_tiny_vae(tmp_path / "tiny-vae"),
    }
    choices = {**BASELINE, "checkpoint": "gguf", "vae-model": "tiny"}
    recipe = recipe_of(model, SMALL, choices)
    recipe = recipe.but(model=recipe.model.but(given=_told(with_checkpoints(model, **given))))
    text = autotune.export(recipe, model=model.folder, checkpoints=given)
    run_scripts({"given": text}, tmp_path)
    pipe = autotune.build(recipe, model=model.folder, device="cpu", checkpoints=given)
    ours = pixels_of(pipe, recipe).astype(int)
    assert abs(made_by(tmp_path, "given").astype(int) - ours).max() <= _ROUNDING


def _told(model: Model) -> Any:
    from autotune.recipe.schema import RecipeGiven

    return tuple(
        RecipeGiven(component=one.component, kind=one.kind, digest=one.digest)
        for one in model.given
    )
