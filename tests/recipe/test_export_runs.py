"""Exported scripts run where autotune cannot be imported, and make the picture of `build`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import autotune
from autotune.levers.base import Target
from autotune.recipe.schema import Recipe, RecipeGiven
from autotune.trial import generate, output
from tests.checkpoints import with_checkpoints, write_gguf, write_tiny_vae
from tests.recipe.export_runner import Eager
from tests.recipe.exported import BASELINE, Case, every_case, recipe_for, recipe_of
from tests.trial.bench import CPU, SMALL, fitted, tiny_model

pytestmark = pytest.mark.trials

RUNNER = Path(__file__).with_name("export_runner.py")
CASES = [case for case in every_case() if not case.compiles]
COMPILED = [case for case in every_case() if case.compiles]
#: Kernels for AVX-512 add in another order where tensors lie at other addresses: the last bit of a
#: float may differ, and then a pixel that lies between two values. Seen here: all are equal.
_ROUNDING = 1


def others(folder: Path) -> dict[str, tuple[Recipe, dict[str, Path]]]:
    """Recipes of more than one choice, with the files that they are made of."""
    flux, wan = tiny_model("flux"), tiny_model("wan")
    several = {
        "dtype": "bf16",
        "quantize-denoiser": "torchao-int8wo",
        "quantize-text-encoder": "bnb-nf4",
        "vae-dtype": "fp32",
        "channels-last": "vae",
        "vae-tiling": "half",
        "attention": "native-flash",
        "batch": "x2",
    }
    given = {
        "transformer": write_gguf(folder / "own.gguf", Path(flux.folder, "transformer"), "Q8_0"),
        "vae": write_tiny_vae(folder / "tiny-vae"),
    }
    from_files = recipe_of(flux, SMALL, {**BASELINE, "checkpoint": "gguf", "vae-model": "tiny"})
    named = tuple(
        RecipeGiven(component=one.component, kind=one.kind, digest=one.digest)
        for one in with_checkpoints(flux, **given).given
    )
    from_files = from_files.but(model=from_files.model.but(given=named))
    compiled = recipe_of(wan, fitted("wan", SMALL), {**BASELINE, "compile": "regional"})
    large = SMALL.but(height=128, width=128)
    return {
        "several": (recipe_of(flux, large, {**BASELINE, **several}), {}),
        "compiled": (compiled, {}),
        "given": (from_files, given),
    }


@dataclass(frozen=True, kw_only=True)
class Made:
    """The folder in which every script was run, and the recipes that are no case."""

    folder: Path
    others: dict[str, tuple[Recipe, dict[str, Path]]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Every script, run in one process that cannot import autotune."""
    folder = tmp_path_factory.mktemp("exported")
    more = others(folder)
    cases = {str(case): recipe_for(case) for case in (*CASES, *COMPILED)}
    texts = {
        name: autotune.export(recipe, model=tiny_model(name.rpartition("-")[2]).folder)
        for name, recipe in cases.items()
    }
    for name, (recipe, given) in more.items():
        model = tiny_model("wan" if name == "compiled" else "flux")
        texts[name] = autotune.export(recipe, model=model.folder, checkpoints=given)
    texts["wall"] = "import autotune\n"
    for name, text in texts.items():
        folder.joinpath(name).mkdir()
        folder.joinpath(name, "script.py").write_text(text)
    eagerly = {str(case) for case in COMPILED}
    jobs = [(str(folder / name / "script.py"), name in eagerly) for name in texts]
    folder.joinpath("jobs.json").write_text(json.dumps(jobs))
    done = subprocess.run(
        [sys.executable, str(RUNNER), str(folder / "jobs.json")],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return Made(folder=folder, others=more)


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


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_script_of_a_choice_makes_the_picture_of_build(case: Case, made: Made) -> None:
    theirs = made_by(made.folder, str(case)).astype(int)
    ours = built(case).astype(int)
    assert theirs.shape == ours.shape
    assert abs(theirs - ours).max() <= _ROUNDING


@pytest.mark.parametrize("case", COMPILED, ids=str)
def test_the_script_of_a_compiled_choice_tells_the_compiler_what_build_tells_it(
    case: Case, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    eager = Eager()
    monkeypatch.setattr(torch, "compile", eager)
    eager.start_anew()
    ours = built(case).astype(int)
    settings = eager.settings()
    eager.start_anew()
    assert settings["told"]
    script = made.folder / str(case) / "script.py"
    theirs = made_by(made.folder, str(case)).astype(int)
    assert json.loads(script.with_suffix(".json").read_text()) == settings
    assert abs(theirs - ours).max() <= _ROUNDING


@pytest.mark.parametrize(
    ("name", "most"),
    # Two compilations may join other operations, and so round in other places.
    [("several", _ROUNDING), ("given", _ROUNDING), ("compiled", 2)],
)
def test_the_script_of_more_than_a_choice_makes_the_picture_of_build(
    name: str, most: int, made: Made
) -> None:
    recipe, given = made.others[name]
    model = tiny_model("wan" if name == "compiled" else "flux")
    pipe = autotune.build(recipe, model=model.folder, device="cpu", checkpoints=given)
    ours = pixels_of(pipe, recipe, multiple=2 if name == "several" else 1).astype(int)
    assert abs(made_by(made.folder, name).astype(int) - ours).max() <= most


def test_the_wall_of_these_tests_is_one(made: Made) -> None:
    failed = made.folder / "wall" / "script.failed"
    assert "ImportError: autotune is blocked" in failed.read_text()
